-- claim_subscription makes a worker the one that sends the events of a subscription: nobody else's steps are taken from now on.
-- KEYS[1] -> subscription:<name>   ARGV[3] -> writer
-- Returns 1 claimed, 0 no such subscription. Writes only after all checks pass; running it again is harmless.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'writer', ARGV[3])
return 1
