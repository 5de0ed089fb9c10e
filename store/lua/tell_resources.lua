-- tell_resources wakes resources that were last read by another revision of their blueprint, a hundred of them looked at.
-- KEYS[1] -> blueprint:<name>:resources   ARGV[3] -> revision   ARGV[4] -> cursor, '' = from the first
-- Derived: resource:<id>, wake.
-- Returns {cursor to go on from, '' = that was all, woken…}. It checks nothing; running it again wakes nobody twice.
local from = ARGV[4] == '' and '-' or '(' .. ARGV[4]
local ids = redis.call('ZRANGE', KEYS[1], from, '+', 'BYLEX', 'LIMIT', '0', '100')
for _, id in ipairs(ids) do
  if redis.call('HGET', P .. 'resource:' .. id, 'rev') ~= ARGV[3] then owe('resource:' .. id) end
end
return {#ids == 100 and ids[100] or '', unpack(woken)}
