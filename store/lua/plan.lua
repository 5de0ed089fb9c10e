-- plan keeps what a request with an idempotency key is about to do, before it does it in several writes.
-- KEYS[1] -> idem:<key>   ARGV[3] -> fingerprint   ARGV[4] -> the plan   ARGV[5] -> how long it is remembered, ms
-- Returns {code, the plan that is kept, answer}: 1 kept, or there before; -1 the key belongs to another request.
-- Writes only after all checks pass. Running it again changes nothing and returns the same.
local known = read(KEYS[1], 'fingerprint', 'plan', 'answer')
if known.fingerprint == '' then
  redis.call('HSET', KEYS[1], 'fingerprint', ARGV[3], 'id', '', 'plan', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return {1, ARGV[4], ''}
end
if known.fingerprint ~= ARGV[3] then return {-1} end
return {1, known.plan, known.answer}
