-- Notes how an admitted guess ended.
-- KEYS: as for admit.lua
-- ARGV: network, account, outcome, whether it was admitted as known, known networks kept, their lifetime, that of totals
local pair, wide_pair, network, wide_network, attempts, wide_attempts = unpack(KEYS, 1, 6)
local account, known_networks, known_failures, total, succeeded = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[12]
local from, who, outcome, known = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local kept, known_ms, totals_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local function take(key, name)
  if (tonumber(redis.call('HGET', key, name)) or 0) <= 0 then return end
  if redis.call('HINCRBY', key, name, -1) == 0 then redis.call('HDEL', key, name) end
end

local function give_back(keys)
  for _, key in ipairs(keys) do take(key, 'count') end
end

take(pair, 'under_way')
if not known then
  for _, key in ipairs({wide_pair, network, wide_network}) do take(key, 'under_way') end
  if outcome ~= 'failed' then give_back({network, wide_network}) end
end
if outcome == 'withdrawn' then
  give_back({pair, attempts, wide_attempts})
  if known then
    take(known_failures, from)
  else
    give_back({wide_pair})
    take(account, 'strangers')
  end
elseif outcome == 'succeeded' then
  local time = redis.call('TIME')
  redis.call('DEL', pair, wide_pair, account, known_failures)
  redis.call('ZADD', known_networks, time[1], from)
  redis.call('ZREMRANGEBYRANK', known_networks, 0, -kept - 1)
  redis.call('PEXPIRE', known_networks, known_ms)
  redis.call('PFADD', succeeded, who)
  redis.call('PEXPIRE', succeeded, totals_ms)
else
  redis.call('HINCRBY', total, 'failed', 1)
  redis.call('PEXPIRE', total, totals_ms)
end
