-- delete_blueprint removes a blueprint that has no resources.
-- KEYS[1] -> blueprints   ARGV[3] -> name   ARGV[4] -> token of this call
-- Derived: blueprint:<name>, :log, blueprints:rev, blueprints:revs, blueprint:<name>:resources, :gate:<owner>, :gates, :authorizations, authorizations,
-- waiting:<type>…, done:<token>, wake.
-- Returns {code, type, cursor for admit.lua, woken…}: 1 removed, 0 no such blueprint, -1 it has resources.
-- Writes only after all checks pass. The same token changes nothing and gets the first answer.
local name = ARGV[3]
local gone = redis.call('GET', P .. 'done:' .. ARGV[4])
if gone then return {1, gone, admit_some(name, ''), unpack(woken)} end
local record = redis.call('HGET', KEYS[1], name)
if not record then return {0, '', ''} end
if redis.call('ZCARD', P .. 'blueprint:' .. name .. ':resources') > 0 then return {-1, '', ''} end
local rtype = cjson.decode(record).type
redis.call('HDEL', KEYS[1], name)
redis.call('HDEL', P .. 'blueprints:revs', name)
redis.call('INCR', P .. 'blueprints:rev')
redis.call('UNLINK', P .. 'blueprint:' .. name, P .. 'blueprint:' .. name .. ':authorizations', P .. 'blueprint:' .. name .. ':log')
redis.call('ZREM', P .. 'wake', 'blueprint:' .. name)
redis.call('ZREMRANGEBYLEX', P .. 'authorizations', '[' .. name .. ' ', '(' .. name .. '!')
redis.call('SET', P .. 'done:' .. ARGV[4], rtype, 'PX', '60000')
-- Nobody gets more from it, but who waits shall see why.
wake_heads(rtype, 0)
return {1, rtype, admit_some(name, ''), unpack(woken)}
