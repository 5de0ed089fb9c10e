-- create_lease queues a lease: the only write of a lease that its requester makes.
-- KEYS[1] -> lease:<id>
-- ARGV[3] -> id   ARGV[4] -> type   ARGV[5] -> shape   ARGV[6] -> priority head start in ms   ARGV[7] -> ttl in ms, 0 = none
-- ARGV[8] -> owner   ARGV[9] -> data   ARGV[10] -> idempotency key, '' = none   ARGV[11] -> its fingerprint
-- ARGV[12] -> how long the key is remembered, ms   ARGV[13] -> id of the resource that will stand on it, '' = none
-- ARGV[14:] -> fields and values of the lease, those first that are read and written most: Redis searches a hash from its beginning
-- Derived: <lease>:data, :log, leases, leases:pending, leases:by-type:<type>, leases:by-owner:<owner>, waiting:<type>…, idem:<key>, wake, events.
-- Returns {code, the lease as show() has it, woken…}: code 1 created, 0 another request with the key was before,
-- -1 the key belongs to another request,
-- -2 the resource does not wait for it. Writes only after all checks pass. The same id changes nothing, and so does the same key, which gets
-- the first reply but for the code and the woken.
local id, rtype, shape, owner, idem = ARGV[3], ARGV[4], ARGV[5], ARGV[8], ARGV[10]
local member = 'lease:' .. id
if idem ~= '' then
  local known = known_request(idem)
  if known.fingerprint ~= '' then
    if known.fingerprint ~= ARGV[11] then return {-1, {}} end
    if known.id == id then woken_before(member) end
    return {known.id == id and 1 or 0, (first_reply(known) or {show('lease:' .. known.id)})[1], unpack(woken)}
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  woken_before(member)
  return {1, show(member), unpack(woken)}
end

if ARGV[13] ~= '' then
  local r = read(P .. 'resource:' .. ARGV[13], 'status', 'sublease')
  if r.status ~= 'pending' or r.sublease ~= id then return {-2, {}} end
end

local order = int(NOW - tonumber(ARGV[6]))
local fields = {unpack(ARGV, 14)}
about(fields, 'updated', NOW_MS, 'created', NOW_MS, 'order', order, 'until', ARGV[7] ~= '0' and int(NOW + tonumber(ARGV[7])))
redis.call('HSET', KEYS[1], unpack(fields))
if ARGV[9] ~= '' then redis.call('HSET', KEYS[1] .. ':data', 'value', ARGV[9], 'rev', '1') end
redis.call('ZADD', P .. 'leases', '0', id)
redis.call('ZADD', P .. 'leases:pending', '0', id)
redis.call('ZADD', P .. 'leases:by-type:' .. rtype, '0', id)
if owner ~= '' then redis.call('ZADD', P .. 'leases:by-owner:' .. owner, '0', id) end
join_queue(id, rtype, shape, order)
local done = {'e', 'queued', 't', 'queued for a ' .. rtype}
log(KEYS[1], done)
owe(member)
tell(member, 'pending', about(done, 'y', rtype, 'u', owner))
local lease = show(member)
if idem ~= '' then remember_request(idem, ARGV[11], id, {lease}, ARGV[12]) end
return {1, lease, unpack(woken)}
