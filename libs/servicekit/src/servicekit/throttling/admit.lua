-- Decides on a guess and counts it at once as a failure that is still under way.
-- KEYS: pair, account, network, known networks, totals of this slice of time and of the last,
--       failures from known networks at the name
-- ARGV: see redis_budgets.py
local network, hinted, name = ARGV[1], ARGV[2] == '1', ARGV[#ARGV]
local n = {}
for i = 3, #ARGV - 1 do n[i] = tonumber(ARGV[i]) end
local pair_limit, pair_ms, network_limit, network_ms = n[3], n[4], n[5], n[6]
local free, row, known_row, row_ms, longest_delay, alarm_at = n[7], n[8], n[9], n[10], n[11], n[12]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function field(key, name) return tonumber(redis.call('HGET', key, name)) or 0 end

local function used_up(key, limit)
  local count = field(key, 'count')
  if count < limit then return nil end
  if count - field(key, 'under_way') < limit then return 2 end
  return 0
end

local function left(key) return math.max(redis.call('PTTL', key), 1000) end

local function charge(key, lifetime)
  redis.call('HINCRBY', key, 'count', 1)
  redis.call('HINCRBY', key, 'under_way', 1)
  if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, lifetime) end
end

local failed, succeeded = 0, 0
for i = 5, 6 do
  failed, succeeded = failed + field(KEYS[i], 'failed'), succeeded + field(KEYS[i], 'succeeded')
end
local alarm = (failed >= alarm_at and failed > succeeded) and 1 or 0

local in_row = field(KEYS[7], network)
if hinted and redis.call('ZCARD', KEYS[4]) < n[13] then  -- Redis was emptied, and the process remembers
  redis.call('ZADD', KEYS[4], 'NX', time[1], network)
  redis.call('PEXPIRE', KEYS[4], n[14])
end
local known = redis.call('ZSCORE', KEYS[4], network) and in_row < known_row

if not known then
  if alarm == 1 then
    pair_limit, network_limit = math.ceil(pair_limit / 2), math.ceil(network_limit / 2)
  end
  local strangers, closed_until = field(KEYS[2], 'strangers'), field(KEYS[2], 'closed_until')
  if strangers >= row then return {0, 'ACCOUNT', longest_delay, 0, alarm} end
  if strangers >= free and now < closed_until then return {0, 'ACCOUNT', closed_until - now, 0, alarm} end
  local verdict = used_up(KEYS[3], network_limit)
  if verdict then return {verdict, 'NETWORK', left(KEYS[3]), 0, alarm} end
end
local verdict = used_up(KEYS[1], pair_limit)
if verdict then return {verdict, 'PAIR', left(KEYS[1]), known and 1 or 0, alarm} end

charge(KEYS[1], pair_ms)
redis.call('HINCRBY', KEYS[1], 'at ' .. name, 1)
if known then
  redis.call('HINCRBY', KEYS[7], network, 1)
else
  charge(KEYS[3], network_ms)
  redis.call('HINCRBY', KEYS[2], 'at ' .. name, 1)
  local strangers = redis.call('HINCRBY', KEYS[2], 'strangers', 1)
  if strangers >= free then
    local delay = math.min(longest_delay, 1000 * 2 ^ (strangers - free))
    redis.call('HSET', KEYS[2], 'closed_until', string.format('%.0f', now + delay))
  end
end
redis.call('PEXPIRE', KEYS[2], row_ms)
redis.call('PEXPIRE', KEYS[7], row_ms)
return {1, 'NONE', 0, known and 1 or 0, alarm}
