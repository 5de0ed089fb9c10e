-- begin shows an object to a run that is about to update it. It takes nothing: the run's first write takes the pen.
-- KEYS[1] -> lease:<id>, resource:<id> or blueprint:<name>
-- ARGV[3] -> member   ARGV[4] -> highest schema version known   ARGV[5] -> most commands to return
-- Derived: <object>:commands, :records, resource:<id>:leases, wake, blueprints:rev.
-- Returns {code, now ms, blueprints rev, object as HGETALL, waiting commands as id, record, …, leases of a resource, its instant in
-- `wake` if nothing waits, or ''}:
-- 1 shown, 0 no such object, -1 unknown schema version, 2 destroyed (nothing is owed).
-- What nobody owes anything leaves `wake`; nothing else is written, and running it again is harmless.
local member, object = ARGV[3], redis.call('HGETALL', KEYS[1])
local status, schema
for i = 1, #object, 2 do
  local name = object[i]
  if name == 'status' then status = object[i + 1] end
  if name == 'schema' then schema = object[i + 1] end
end
if not status then
  redis.call('ZREM', P .. 'wake', member)
  return {0}
end
if not tonumber(schema) or tonumber(schema) > tonumber(ARGV[4]) then return {-1} end
if status == 'destroyed' then
  redis.call('ZREM', P .. 'wake', member)
  redis.call('HSET', KEYS[1], 'woken', '0')
  return {2}
end
local leases = string.sub(member, 1, 9) == 'resource:' and redis.call('ZRANGE', KEYS[1] .. ':leases', '0', '-1') or {}
local commands = waiting_commands(KEYS[1], tonumber(ARGV[5]))
return {1, NOW, tonumber(redis.call('GET', P .. 'blueprints:rev') or 0), object, commands, leases,
  not commands[1] and redis.call('ZSCORE', P .. 'wake', member) or ''}
