-- create_resource makes a resource for a waiting lease, in one write with the lease's note of it.
-- KEYS[1] -> resource:<id>   KEYS[2] -> lease:<id> it is made for
-- ARGV[3] -> resource id   ARGV[4] -> the lease's step, JSON   ARGV[5:] -> fields and values of the resource
-- Derived: <lease>:commands, :records, :history, blueprints:revs, blueprint:<name>:resources, resources, resources:pending, slot:<key>, waiting:<type>…, both logs, wake, events.
-- Returns {code, 'done' | 'again' | '', woken…}; code ok, repeat, stale, transition (the lease does not wait), changed (the blueprint is another one), limit, held (a slot lock is),
-- pending (the lease has an allocation on its way).
-- Writes only after all checks pass.
local id, step = ARGV[3], cjson.decode(ARGV[4])
local lease_key, lease_member, member = KEYS[2], 'lease:' .. step.lease, 'resource:' .. id
local o = read(lease_key, 'status', 'writer', 'version', 'type', 'shape', 'order', 'allocation', 'owner')
local code, state = guard(o, step, lease_key)
if code == 'repeat' then return {code, finish(lease_key, lease_member, step.finish)} end
if code ~= 'ok' then return {code, ''} end
if state ~= 'pending' then return {'transition', ''} end
if o.allocation ~= '' and redis.call('HGET', P .. 'resource:' .. o.allocation, 'status') == 'pending' then return {'pending', ''} end
if redis.call('HGET', P .. 'blueprints:revs', step.blueprint) ~= int(step.rev) then return {'changed', ''} end
local siblings = P .. 'blueprint:' .. step.blueprint .. ':resources'
if step.limit > 0 and redis.call('ZCARD', siblings) >= step.limit then return {'limit', ''} end
if not slots_free(member, step.slots or {}) then return {'held', ''} end

local fields, name = {'created', int(NOW), 'updated', int(NOW)}, ''
for i = 5, #ARGV do
  fields[#fields + 1] = ARGV[i]
  if i % 2 == 0 and ARGV[i - 1] == 'name' then name = ARGV[i] end
end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('ZADD', P .. 'resources', 0, id)
redis.call('ZADD', P .. 'resources:pending', 0, id)
redis.call('ZADD', P .. 'resources:by-type:' .. o.type, 0, id)
redis.call('ZADD', P .. 'resources:by-blueprint:' .. step.blueprint, 0, id)
redis.call('ZADD', siblings, 0, id)
for _, slot in ipairs(step.slots or {}) do redis.call('SET', P .. 'slot:' .. slot, member) end
log(KEYS[1], 'allocated', 'allocated for lease ' .. step.lease, '', step.fence, step.worker)
owe(member)
tell(member, 'allocated', 'pending', about('t', 'allocated for lease ' .. step.lease, 'y', o.type, 'n', name, 'b', step.blueprint,
  'f', int(step.fence), 'w', step.worker))

consume(lease_key, step, state)
advance(lease_key, 'leases', step.lease, step, state)
-- Until its own resource is ready or dead, the lease does not compete for others' (one allocation at a time).
stand_back(step.lease, o.type, o.shape)
local unseen = redis.call('HGET', lease_key, 'woken') == '1' and 1 or 0
pass_on(step.lease, o.type, o.shape, o.order, math.max(step.pass or 0, unseen), true)
tell_step(lease_member, step, 'pending', o)
return {'ok', finish(lease_key, lease_member, step.finish), unpack(woken)}
