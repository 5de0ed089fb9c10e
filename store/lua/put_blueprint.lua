-- put_blueprint declares a blueprint.
-- KEYS[1] -> blueprints
-- ARGV[3] -> name   ARGV[4] -> kind   ARGV[5] -> type   ARGV[6] -> token of this call   ARGV[7] -> record without its opening brace
-- Derived: blueprints:rev, blueprints:revs, blueprint:<name>:resources, :gate:<owner>, :gates, waiting:<type>…, wake.
-- Returns {code, record, cursor for admit.lua, woken…}: 1 created, 0 replaced, -1 it has resources and another kind or type.
-- Writes only after all checks pass. The same token changes nothing and gets the first answer.
local name = ARGV[3]
local created, code, first = NOW, 1, ARGV[6]
local old = redis.call('HGET', KEYS[1], name)
if old then
  local was = cjson.decode(old)
  if was.token == ARGV[6] then return {was.first == ARGV[6] and 1 or 0, old, admit_some(name, ''), unpack(woken)} end
  if (was.kind ~= ARGV[4] or was.type ~= ARGV[5]) and redis.call('ZCARD', P .. 'blueprint:' .. name .. ':resources') > 0 then
    return {-1, '', ''}
  end
  created, code, first = was.created_ms, 0, was.first or ''
end

local rev = redis.call('INCR', P .. 'blueprints:rev')
redis.call('HSET', P .. 'blueprints:revs', name, rev)
local record = '{"rev":' .. int(rev) .. ',"created_ms":' .. int(created) .. ',"first":"' .. first ..
  '","token":"' .. ARGV[6] .. '",' .. string.sub(stamp('updated_ms', ARGV[7]), 2)
redis.call('HSET', KEYS[1], name, record)
wake_heads(ARGV[5], 0)
return {code, record, admit_some(name, ''), unpack(woken)}
