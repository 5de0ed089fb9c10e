-- What those are told who ask for something over HTTP.

-- show returns an object as readers want it: its fields, its data as {value, rev}, then for a lease its position in the queue (0 =
-- none), for a resource its leases.
local function show(member)
  local key = member_key(member)
  local fields, data = redis.call('HGETALL', key), redis.call('HMGET', key .. ':data', 'value', 'rev')
  if string.sub(member, 1, 9) == 'resource:' then return {fields, data, redis.call('ZRANGE', key .. ':leases', '0', '-1')} end
  local o = read(key, 'status', 'type', 'id')
  local rank = o.status == 'pending' and redis.call('ZRANK', P .. 'waiting:' .. o.type, o.id)
  return {fields, data, rank and rank + 1 or 0}
end

-- Requests with an idempotency key. `idem:<key>` has what stands for the request, the id that it was given, and the reply that it got, for as
-- long as it is remembered.
local function known_request(idem) return read(P .. 'idem:' .. idem, 'fingerprint', 'id', 'reply') end

-- first_reply is what the first of such requests was told; nil when a version wrote it that kept no replies.
local function first_reply(known) return known.reply ~= '' and cjson.decode(known.reply) or nil end

local function remember_request(idem, fingerprint, id, reply, ms)
  local key = P .. 'idem:' .. idem
  redis.call('HSET', key, 'fingerprint', fingerprint, 'id', id, 'reply', cjson.encode(reply))
  redis.call('PEXPIRE', key, ms)
end
