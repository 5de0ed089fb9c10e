-- put_subscription declares a subscription. A new one begins with the events that come from now on; an old one keeps its place.
-- KEYS[1] -> subscription:<name>
-- ARGV[3] -> name   ARGV[4] -> token of this call   ARGV[5] -> most subscriptions   ARGV[6] -> secret, '' = the one that is there
-- ARGV[7:] -> fields and values that are declared
-- Derived: subscriptions, events.
-- Returns {code, HGETALL}: 1 created, 0 replaced, -1 there are too many, -2 a new one needs a secret.
-- Writes only after all checks pass. The same token changes nothing and gets the first answer.
local name, token = ARGV[3], ARGV[4]
local o = read(KEYS[1], 'token', 'first', 'secret')
if o.token == token then return {o.first == token and 1 or 0, redis.call('HGETALL', KEYS[1])} end
local new = o.token == ''
if new and redis.call('ZCARD', P .. 'subscriptions') >= tonumber(ARGV[5]) then return {-1, {}} end
if ARGV[6] == '' and new then return {-2, {}} end

local fields = {'token', token, 'updated', NOW_MS, 'secret', ARGV[6] ~= '' and ARGV[6] or o.secret, 'failures', 0, 'try_at', 0}
if new then
  -- An entry of its own, so that the place of a new subscription is one that can be seen to have been trimmed away.
  local position = redis.call('XADD', P .. 'events', 'MAXLEN', '~', EVENTS_KEPT, '*', 'o', 'subscription:' .. name)
  for _, f in ipairs({'first', token, 'created', NOW_MS, 'position', position}) do fields[#fields + 1] = f end
end
for i = 7, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('ZADD', P .. 'subscriptions', '0', name)
return {new and 1 or 0, redis.call('HGETALL', KEYS[1])}
