-- delete_subscription removes a subscription and its dead letters.
-- KEYS[1] -> subscription:<name>   ARGV[3] -> name   ARGV[4] -> token of this call
-- Derived: subscriptions, subscription:<name>:dead, done:<token>.
-- Returns 1 removed, 0 no such subscription. Writes only after all checks pass. The same token changes nothing and gets the first
-- answer.
if redis.call('EXISTS', P .. 'done:' .. ARGV[4]) == 1 then return 1 end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('DEL', KEYS[1], KEYS[1] .. ':dead')
redis.call('ZREM', P .. 'subscriptions', ARGV[3])
redis.call('SET', P .. 'done:' .. ARGV[4], '1', 'PX', '60000')
return 1
