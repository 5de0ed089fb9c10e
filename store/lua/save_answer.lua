-- save_answer keeps the first answer to a request with an idempotency key.
-- KEYS[1] -> idem:<key>   ARGV[3] -> the answer
-- Returns 1 kept, 0 there is one, or the key is forgotten. Running it again is harmless.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HSETNX', KEYS[1], 'answer', ARGV[3])
