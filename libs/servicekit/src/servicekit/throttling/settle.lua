-- Notes how an admitted guess ended.
-- KEYS: as for admit.lua
-- ARGV: network, outcome, whether it was admitted as known, known networks kept, their lifetime, that of totals, name
local network, outcome, known = ARGV[1], ARGV[2], ARGV[3] == '1'
local kept, known_ms, totals_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local here = 'at ' .. ARGV[7]

local function field(key, name) return tonumber(redis.call('HGET', key, name)) or 0 end

local function take(key, name)
  if field(key, name) <= 0 then return false end
  if redis.call('HINCRBY', key, name, -1) == 0 then redis.call('HDEL', key, name) end
  return true
end

-- Of what `key` counts, others at another name are left.
local function forgive(key, name, number)
  if field(key, name) <= number then
    redis.call('DEL', key)
  elseif number > 0 then
    redis.call('HINCRBY', key, name, -number)
  end
end

take(KEYS[1], 'under_way')
if not known then take(KEYS[3], 'under_way') end
if outcome ~= 'failed' and not known then take(KEYS[3], 'count') end
if outcome == 'withdrawn' then
  if take(KEYS[1], here) then take(KEYS[1], 'count') end
  if known then take(KEYS[7], network) elseif take(KEYS[2], here) then take(KEYS[2], 'strangers') end
  return
end
if outcome == 'succeeded' then
  local time = redis.call('TIME')
  forgive(KEYS[1], 'count', field(KEYS[1], here))
  redis.call('HDEL', KEYS[1], here)
  forgive(KEYS[2], 'strangers', field(KEYS[2], here))
  redis.call('HDEL', KEYS[2], here)
  redis.call('DEL', KEYS[7])
  redis.call('ZADD', KEYS[4], time[1], network)
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -kept - 1)
  redis.call('PEXPIRE', KEYS[4], known_ms)
end
redis.call('HINCRBY', KEYS[5], outcome, 1)
redis.call('PEXPIRE', KEYS[5], totals_ms)
