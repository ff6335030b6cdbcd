-- Notes how an admitted guess ended.
-- KEYS: as for admit.lua
-- ARGV: network, outcome, whether it was admitted as known, known networks kept, their lifetime and that of totals
local network, outcome, known = ARGV[1], ARGV[2], ARGV[3] == '1'
local kept, known_ms, totals_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local function take(key, name)
  if (tonumber(redis.call('HGET', key, name)) or 0) > 0 then redis.call('HINCRBY', key, name, -1) end
end

take(KEYS[1], 'under_way')
if not known then take(KEYS[3], 'under_way') end
if outcome ~= 'failed' and not known then take(KEYS[3], 'count') end
if outcome == 'withdrawn' then
  take(KEYS[1], 'count')
  take(KEYS[2], known and network or 'strangers')
  return
end
if outcome == 'succeeded' then
  local time = redis.call('TIME')
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('ZADD', KEYS[4], time[1], network)
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -kept - 1)
  redis.call('PEXPIRE', KEYS[4], known_ms)
end
redis.call('HINCRBY', KEYS[5], outcome, 1)
redis.call('PEXPIRE', KEYS[5], totals_ms)
