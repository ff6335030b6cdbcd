-- Decides on a guess and counts it at once as a failure that is still under way.
-- KEYS, ARGV: see redis_budgets.py
local pair, wide_pair, network, wide_network, attempts, wide_attempts = unpack(KEYS, 1, 6)
local account, known_networks, known_failures = unpack(KEYS, 7, 9)
local from, hinted, n = ARGV[1], ARGV[2] == '1', cjson.decode(ARGV[3])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function field(key, name) return tonumber(redis.call('HGET', key, name)) or 0 end

local function used_up(key, limit)
  local count = field(key, 'count')
  if count < limit then return nil end
  if count - field(key, 'under_way') < limit then return 2 end
  return 0
end

local function count(key, lifetime)
  if redis.call('HINCRBY', key, 'count', 1) == 1 then redis.call('PEXPIRE', key, lifetime) end
end

local function charge(key, lifetime)
  count(key, lifetime)
  redis.call('HINCRBY', key, 'under_way', 1)
end

local failed = field(KEYS[10], 'failed') + field(KEYS[11], 'failed')
local alarm = (failed >= n.alarm and failed > redis.call('PFCOUNT', KEYS[12], KEYS[13])) and 1 or 0

if hinted and redis.call('ZCARD', known_networks) < n.known_kept then  -- Redis was emptied, and the process remembers
  redis.call('ZADD', known_networks, 'NX', time[1], from)
  redis.call('PEXPIRE', known_networks, n.known_ms)
end
local known = redis.call('ZSCORE', known_networks, from) and field(known_failures, from) < n.known_row

local pair_limit, network_limit = n.pair, n.network
if alarm == 1 and not known then
  pair_limit, network_limit = math.ceil(pair_limit / 2), math.ceil(network_limit / 2)
end

if not known then
  local strangers, closed_until = field(account, 'strangers'), field(account, 'closed_until')
  if strangers >= n.row then return {0, 'ACCOUNT', n.longest_delay, 0, alarm} end
  if strangers >= n.free and now < closed_until then return {0, 'ACCOUNT', closed_until - now, 0, alarm} end
end

-- Each budget that holds for this guess, the narrower before the wider one.
local budgets = {}
if n.attempts > 0 then
  table.insert(budgets, {attempts, n.attempts, 'ATTEMPTS'})
  table.insert(budgets, {wide_attempts, n.wider * n.attempts, 'ATTEMPTS'})
end
table.insert(budgets, {pair, pair_limit, 'PAIR'})
if not known then
  table.insert(budgets, {network, network_limit, 'NETWORK'})
  table.insert(budgets, {wide_pair, n.wider * pair_limit, 'WIDE_PAIR'})
  table.insert(budgets, {wide_network, n.wider * network_limit, 'WIDE_NETWORK'})
end
local pending
for _, budget in ipairs(budgets) do
  local verdict = used_up(budget[1], budget[2])
  if verdict then
    local refusal = {verdict, budget[3], math.max(redis.call('PTTL', budget[1]), 1000), known and 1 or 0, alarm}
    if verdict == 0 then return refusal end
    pending = pending or refusal
  end
end
if pending then return pending end

if n.attempts > 0 then
  count(attempts, n.attempts_ms)
  count(wide_attempts, n.attempts_ms)
end
charge(pair, n.pair_ms)
if known then
  redis.call('HINCRBY', known_failures, from, 1)
  redis.call('PEXPIRE', known_failures, n.row_ms)
else
  charge(wide_pair, n.pair_ms)
  charge(network, n.network_ms)
  charge(wide_network, n.network_ms)
  local strangers = redis.call('HINCRBY', account, 'strangers', 1)
  if strangers >= n.free then
    local delay = math.min(n.longest_delay, 1000 * 2 ^ (strangers - n.free))
    redis.call('HSET', account, 'closed_until', string.format('%.0f', now + delay))
  end
  redis.call('PEXPIRE', account, strangers < n.few and n.few_ms or n.row_ms)
end
return {1, 'NONE', 0, known and 1 or 0, alarm}
