-- retry_dead_letters asks for all dead letters of a subscription to be sent again.
-- KEYS[1] -> subscription:<name>
-- Derived: <subscription>:dead.
-- Returns how many there are, -1 no such subscription. Writes only after all checks pass; running it again is harmless.
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
local last = redis.call('XREVRANGE', KEYS[1] .. ':dead', '+', '-', 'COUNT', '1')
if last[1] then redis.call('HSET', KEYS[1], 'retry', last[1][1]) end
return redis.call('XLEN', KEYS[1] .. ':dead')
