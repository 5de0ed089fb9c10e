-- delete_blueprint removes a blueprint that has no resources.
-- KEYS[1] -> blueprints   ARGV[3] -> name   ARGV[4] -> token of this call
-- Derived: blueprints:rev, blueprints:revs, blueprint:<name>:resources, done:<token>.
-- Returns 1 removed, 0 no such blueprint, -1 it has resources.
-- Writes only after all checks pass. The same token changes nothing and gets the first answer.
if redis.call('EXISTS', P .. 'done:' .. ARGV[4]) == 1 then return 1 end
if redis.call('HEXISTS', KEYS[1], ARGV[3]) == 0 then return 0 end
if redis.call('ZCARD', P .. 'blueprint:' .. ARGV[3] .. ':resources') > 0 then return -1 end
redis.call('HDEL', KEYS[1], ARGV[3])
redis.call('HDEL', P .. 'blueprints:revs', ARGV[3])
redis.call('INCR', P .. 'blueprints:rev')
redis.call('SET', P .. 'done:' .. ARGV[4], 1, 'PX', 60000)
return 1
