-- Counts one in each window, or in none where one of them is full: then it answers with the milliseconds until there
-- is room, else with 0.
-- KEYS: the windows
-- ARGV: the limit of each, and the milliseconds that all of them last
for i, key in ipairs(KEYS) do
  if (tonumber(redis.call('GET', key)) or 0) >= tonumber(ARGV[i]) then return math.max(redis.call('PTTL', key), 1) end
end
for _, key in ipairs(KEYS) do
  if redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, ARGV[#ARGV]) end
end
return 0
