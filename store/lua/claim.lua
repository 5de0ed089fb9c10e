-- claim takes the pen at once: a fresh writer and a higher fence. An update does so when it begins with expiry: an object whose end has
-- passed gets one release command from Drydock itself, behind those that wait.
-- KEYS[1] -> lease:<id> or resource:<id>
-- ARGV[3] -> member   ARGV[4] -> writer   ARGV[5] -> highest schema version known   ARGV[6] -> most commands to return
-- ARGV[7] -> id for the expiry command   ARGV[8] -> its record without the opening brace   ARGV[9] -> ",state," that take commands
-- Derived: <object>:commands, :records, :log, resource:<id>:leases, wake, blueprints:rev.
-- Returns {code, now ms, blueprints rev, object as HGETALL, waiting commands as id, record, …, leases of a resource}:
-- 1 claimed, 0 no such object, -1 unknown schema version, 2 destroyed (nothing is owed).
-- Writes only after all checks pass. Run again by the same writer it changes nothing more than the time in `wake`.
local member = ARGV[3]
local o = read(KEYS[1], 'status', 'writer', 'schema', 'until', 'expired', 'busy')
if o.status == '' then
  redis.call('ZREM', P .. 'wake', member)
  return {0}
end
local schema = tonumber(o.schema)
if not schema or schema > tonumber(ARGV[5]) then return {-1} end
if o.status == 'destroyed' then
  redis.call('ZREM', P .. 'wake', member)
  redis.call('HSET', KEYS[1], 'woken', '0')
  return {2}
end

if o.writer ~= ARGV[4] then
  redis.call('HINCRBY', KEYS[1], 'fence', '1')
  redis.call('HSET', KEYS[1], 'writer', ARGV[4], 'woken', '0')
  if o.busy ~= '' then redis.call('HSET', KEYS[1], 'busy', '') end
  local ends = tonumber(o['until']) or 0
  if ends > 0 and ends <= NOW and o.expired ~= o['until'] and string.find(ARGV[9], ',' .. o.status .. ',', 1, true) then
    redis.call('HSET', KEYS[1], 'expired', o['until'])
    push(member, ARGV[7], ARGV[8], 'release', 'release: its until has passed', true)
  end
end
redis.call('ZADD', P .. 'wake', VISIBLE_AT, member)

local commands, cids = {}, redis.call('LRANGE', KEYS[1] .. ':commands', '0', tonumber(ARGV[6]) - 1)
local records = cids[1] and redis.call('HMGET', KEYS[1] .. ':records', unpack(cids))
for i, cid in ipairs(cids) do
  commands[#commands + 1] = cid
  commands[#commands + 1] = records[i]
end
local leases = {}
if string.sub(member, 1, 9) == 'resource:' then leases = redis.call('ZRANGE', KEYS[1] .. ':leases', '0', '-1') end
return {1, NOW, tonumber(redis.call('GET', P .. 'blueprints:rev') or 0), redis.call('HGETALL', KEYS[1]), commands, leases}
