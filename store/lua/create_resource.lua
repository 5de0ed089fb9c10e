-- create_resource makes a resource for a waiting lease, in one write with the lease's note of it.
-- KEYS[1] -> resource:<id>   KEYS[2] -> lease:<id> it is made for
-- ARGV[3] -> resource id   ARGV[4] -> the lease's step, JSON   ARGV[5:] -> fields and values of the resource
-- Derived: <lease>:commands, :records, :history, blueprints:revs, blueprint:<name>:resources, :held:<owner>, :gate:<owner>, :gates, :authorizations, resources, resources:pending, slot:<key>, waiting:<type>…, both logs, wake, events.
-- Returns {code, 'done' | 'again' | '', tally, woken…}; code ok, repeat, stale, transition (the lease does not wait), changed (the blueprint is another one), limit, held (a slot lock is),
-- pending (the lease has an allocation on its way), quota (the owner has as many leases as the blueprint allows).
-- Writes only after all checks pass.
local id, step = ARGV[3], cjson.decode(ARGV[4])
local lease_key, lease_member, member = KEYS[2], 'lease:' .. step.lease, 'resource:' .. id
local o = read(lease_key, 'status', 'writer', 'version', 'woken', 'busy', 'type', 'shape', 'order', 'allocation', 'owner', 'gates', 'gated_shape', 'reserved')
local code, state, unread = guard(o, step, lease_key)
if code == 'repeat' then return {code, finish(lease_key, lease_member, step.finish)} end
if code ~= 'ok' then return {code, ''} end
if state ~= 'pending' then return {'transition', ''} end
if o.allocation ~= '' and redis.call('HGET', P .. 'resource:' .. o.allocation, 'status') == 'pending' then return {'pending', ''} end
if step.quota and held_by_others(step.blueprint, o.owner, step.lease) >= step.quota then return {'quota', ''} end
if step.approved and authorization(step.blueprint, o.owner) ~= 'approved' then return {'changed', ''} end
local refusal = may_make(member, step)
if refusal then return {refusal, ''} end

make(id, o.type, step, 5, 'allocated for lease ' .. step.lease)

consume(lease_key, step, state, unread)
advance(lease_key, 'leases', step.lease, step, state, o)
-- Until its own resource is ready or dead, the lease does not compete for others' (one allocation at a time).
local shape = shape_of(o)
stand_back(step.lease, o.type, shape)
if o.reserved ~= step.blueprint then give_back(o.reserved, o.owner, step.lease) end
redis.call('SADD', held_key(step.blueprint, o.owner), step.lease)
redis.call('HSET', lease_key, 'reserved', step.blueprint)
if o.gates ~= '' then
  redis.call('HSET', lease_key, 'gates', '', 'gated_shape', '')
  leave_gates(step.lease, o.owner, o.order, list_of(o.gates))
end
local unseen = o.unheard and 1 or 0
pass_on(step.lease, o.type, shape, o.order, math.max(step.pass or 0, unseen), true)
tell_step(lease_member, step, 'pending', o)
return {'ok', finish(lease_key, lease_member, step.finish), tallied(), unpack(woken)}
