-- put_blueprint declares a blueprint.
-- KEYS[1] -> blueprints
-- ARGV[3] -> name   ARGV[4] -> kind   ARGV[5] -> type   ARGV[6] -> token of this call   ARGV[7] -> record without its opening brace
-- ARGV[8] -> schema version   ARGV[9] -> how many resources it keeps idle   ARGV[10] -> what must hold of the old one
-- ARGV[11] -> traceparent of whoever declares it, '' = nobody traces
-- Derived: blueprint:<name>, blueprints:rev, blueprints:revs, blueprint:<name>:resources, :gate:<owner>, :gates, waiting:<type>…, wake.
-- Returns {code, record, cursor for admit.lua, woken…}: 1 created, 0 replaced, -1 it has resources and another kind or type,
-- -2 the condition does not hold (the second is the rev then, 0 = there is no such blueprint).
-- Writes only after all checks pass. The same token changes nothing and gets the first answer.
local name = ARGV[3]
local created, code, first = NOW, 1, ARGV[6]
local old = redis.call('HGET', KEYS[1], name)
local was = old and cjson.decode(old) or {rev = 0}
if was.token == ARGV[6] then return {was.first == ARGV[6] and 1 or 0, old, admit_some(name, ''), unpack(woken)} end
if not holds(ARGV[10], old, was.rev) then return {-2, was.rev} end
if old then
  if (was.kind ~= ARGV[4] or was.type ~= ARGV[5]) and redis.call('ZCARD', P .. 'blueprint:' .. name .. ':resources') > 0 then
    return {-1, '', ''}
  end
  -- Declared with the very same words it is the same blueprint still.
  if string.sub(old, -#ARGV[7] - 1) == ',' .. ARGV[7] and redis.call('EXISTS', P .. 'blueprint:' .. name) == 1 then
    return {0, old, ''}
  end
  created, code, first = was.created_ms, 0, was.first or ''
end

local rev = redis.call('INCR', P .. 'blueprints:rev')
redis.call('HSET', P .. 'blueprints:revs', name, rev)
local record = '{"rev":' .. int(rev) .. ',"created_ms":' .. int(created) .. ',"first":"' .. first ..
  '","token":"' .. ARGV[6] .. '",' .. string.sub(stamp('updated_ms', ARGV[7]), 2)
redis.call('HSET', KEYS[1], name, record)
local key = P .. 'blueprint:' .. name
redis.call('HSET', key, 'schema', ARGV[8], 'status', 'declared', 'type', ARGV[5], 'min_idle', ARGV[9])
if ARGV[11] ~= '' then redis.call('HSET', key, 'trace', ARGV[11]) else redis.call('HDEL', key, 'trace') end
redis.call('HSETNX', key, 'version', '0')
redis.call('HSETNX', key, 'fence', '0')
owe('blueprint:' .. name)
wake_heads(ARGV[5], 0)
return {code, record, admit_some(name, ''), unpack(woken)}
