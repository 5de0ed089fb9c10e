-- apply_lease writes one step of a lease: commands consumed, state, place, slot locks, logs and whom it wakes, all or nothing.
-- KEYS[1] -> lease:<id>   ARGV[3] -> id   ARGV[4] -> the step, JSON of Go's LeaseStep
-- Derived: <lease>:commands, :records, :history, :log, leases:<status>, leases:by-resource:<id>, resource:<id>, resource:<id>:leases,
-- free:<type>, slot:<key>, waiting:<type>…, blueprints:revs, blueprint:<name>:held:<owner>, :gate:<owner>, :gates, :authorizations, wake, collectable, events.
-- Returns {code, 'done' | 'again' | '', tally, woken…}; code ok, repeat (applied before), stale, transition, more (too many unread commands),
-- unusable (the resource takes no lease), changed (the blueprint is another one, or a gate is not shut any more), held (a slot lock is),
-- quota (the owner has as many leases as the blueprint allows), releasing (a release waits, so it becomes active no more).
-- Writes only after all checks pass, except that a resource that turns out unusable leaves the index of free ones.
local id, step = ARGV[3], cjson.decode(ARGV[4])
local key, member = KEYS[1], 'lease:' .. id
-- What a lease has that waits, or is sent back to, means nothing of one that is active or over.
local queued = step.from == 'pending' or step.from == 'acquired'
local o = read(key, 'status', 'writer', 'version', 'woken', 'busy', 'releases', 'type', 'owner', 'resource', 'blueprint', 'slots', 'for_resource',
  unpack(queued and {'shape', 'order', 'allocation', 'gates', 'gated_shape', 'reserved'} or {}))
local code, state, unread = guard(o, step, key)
if code == 'repeat' then return {code, done(key, member, step, o.status)} end
if code ~= 'ok' then return {code, ''} end

if state == 'active' and step.from ~= 'active' and (tonumber(o.releases) or 0) > 0 then return {'releasing', ''} end
-- A lease becomes acquired by taking a place, and takes one in no other way.
local take, host = step.acquire, nil
if (take ~= nil) ~= (step.path ~= nil and step.path[1] == 'acquired') then return {'transition', ''} end
if take then
  host = occupancy(take.resource)
  if not host.usable or host.load >= tonumber(host.capacity) then
    refree(take.resource, host)
    return {'unusable', ''}
  end
  if take.idle and host.load > 0 then return {'unusable', ''} end
  if redis.call('HGET', P .. 'blueprints:revs', host.blueprint) ~= int(take.rev) then return {'changed', ''} end
  if take.quota and held_by_others(take.blueprint, o.owner, id) >= take.quota then return {'quota', ''} end
  if take.approved and authorization(take.blueprint, o.owner) ~= 'approved' then return {'changed', ''} end
  if not slots_free(member, take.slots or {}) then return {'held', ''} end
end
for _, gate in ipairs(step.gates or {}) do
  if not shut(gate, o.owner, id) then return {'changed', ''} end
end

-- wait_at_gates moves the lease to the gates of the step; it reports whether the lease left the queue of its old shape.
local function wait_at_gates(id, o, step)
  local wanted, gates, left = {}, {}, {}
  for i, gate in ipairs(step.gates) do
    wanted[gate.blueprint] = true
    gates[i] = gate.blueprint
  end
  for _, blueprint in ipairs(list_of(o.gates)) do
    if not wanted[blueprint] then left[#left + 1] = blueprint end
  end
  leave_gates(id, o.owner, o.order, left)
  for _, blueprint in ipairs(gates) do
    redis.call('ZADD', gate_key(blueprint, o.owner), o.order, id)
    redis.call('ZADD', P .. 'blueprint:' .. blueprint .. ':gates', '0', o.owner)
  end
  if not gates[1] and o.gates == '' then return false end
  redis.call('HSET', KEYS[1], 'gates', gates[1] and cjson.encode(gates) or '', 'gated_shape', gates[1] and step.gated_shape or '')
  return step.gated_shape ~= shape_of(o) and stand_back(id, o.type, shape_of(o))
end

-- Who leaves without taking anything, or was given a word that it has not heard, leaves something behind that it has not seen. A lease that
-- becomes active passes the word on, and needs to hear none.
local unseen = (not take or o.unheard) and 1 or 0
if take and state == 'active' then o.unheard = false end
consume(key, step, state, unread)
advance(key, 'leases', id, step, state, o)
if take then
  redis.call('ZADD', P .. 'resource:' .. take.resource .. ':leases', '0', id)
  redis.call('ZADD', P .. 'leases:by-resource:' .. take.resource, '0', id)
  host.load = host.load + 1
  refree(take.resource, host, host.load > 1)
  for _, slot in ipairs(take.slots or {}) do redis.call('SET', P .. 'slot:' .. slot, member) end
  redis.call('SADD', held_key(take.blueprint, o.owner), id)
end
if queued and o.reserved ~= '' then
  -- What was reserved for an allocation is given back when the lease got a place elsewhere, or left, or the allocation came to nothing.
  local pending_allocation = o.allocation ~= '' and redis.call('HGET', P .. 'resource:' .. o.allocation, 'status') == 'pending'
  if state ~= 'pending' or (step.gates and not pending_allocation) then
    redis.call('HSET', key, 'reserved', '')
    if not (take and take.blueprint == o.reserved) then give_back(o.reserved, o.owner, id) end
  end
end
local shape = queued and shape_of(o)
if step.from == 'pending' and state ~= 'pending' then
  leave_queue(id, o.type, shape)
  if o.gates ~= '' then
    redis.call('HSET', key, 'gates', '', 'gated_shape', '')
    leave_gates(id, o.owner, o.order, list_of(o.gates))
  end
  pass_on(id, o.type, shape, o.order, math.max(step.pass or 0, unseen), true)
elseif state == 'pending' and step.from ~= 'pending' then
  join_queue(id, o.type, o.shape, o.order)
elseif state == 'pending' then
  local left = step.stand_back and stand_back(id, o.type, shape)
  if step.gates then left = wait_at_gates(id, o, step) or left end
  if step.compete then compete(id, o.type, step.gates and step.gated_shape or shape, o.order) end
  -- Those who stood behind it in a queue that it has left were told that they stand behind it.
  pass_on(id, o.type, shape, o.order, math.max(step.pass or 0, left and 1 or 0), left)
end
if step.from ~= 'pending' and state == 'pending' or state == 'destroyed' then give_back(o.blueprint, o.owner, id) end
local leaves = o.resource ~= '' and (state == 'destroyed' or (state == 'pending' and step.from ~= 'pending'))
if state == 'destroyed' or leaves then free_slots(member, o.slots) end
if leaves and redis.call('ZREM', P .. 'resource:' .. o.resource .. ':leases', id) == 1 then
  host = occupancy(o.resource)
  if host.load == 0 then
    redis.call('HSET', P .. 'resource:' .. o.resource, 'idle', NOW_MS)
    if host.retire ~= '' then redis.call('ZADD', P .. 'wake', 'LT', int(NOW + tonumber(host.retire)), 'resource:' .. o.resource) end
  end
  if host.status == 'active' then
    refill(o.resource, host, host.load > 0)
  elseif host.load == 0 then
    owe('resource:' .. o.resource)
  end
end
-- The resource that stands on it becomes active with it and goes with it, and it is looked at again when that is done.
if o.for_resource ~= '' and state ~= step.from then
  local above = 'resource:' .. o.for_resource
  if step.sub_release then order(above, step.sub_release) end
  if redis.call('EXISTS', P .. above) == 1 and redis.call('HGET', P .. above, 'status') ~= 'destroyed' then owe(above) end
end
tell_step(member, step, state, o)
return {'ok', done(key, member, step, state), tallied(), unpack(woken)}
