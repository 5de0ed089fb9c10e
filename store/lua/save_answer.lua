-- save_answer keeps the first answer to a request with an idempotency key.
-- KEYS[1] -> idem:<key>   ARGV[3] -> the answer
-- Returns the answer that is kept, '' when the key is forgotten. Running it again is harmless.
if redis.call('EXISTS', KEYS[1]) == 0 then return '' end
redis.call('HSETNX', KEYS[1], 'answer', ARGV[3])
return redis.call('HGET', KEYS[1], 'answer')
