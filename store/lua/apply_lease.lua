-- apply_lease writes one step of a lease: commands consumed, state, place, slot locks, logs and whom it wakes, all or nothing.
-- KEYS[1] -> lease:<id>   ARGV[3] -> id   ARGV[4] -> the step, JSON of Go's LeaseStep
-- Derived: <lease>:commands, :records, :history, :log, leases:<status>, leases:by-resource:<id>, resource:<id>, resource:<id>:leases,
-- free:<type>, slot:<key>, waiting:<type>…, blueprints, wake, events.
-- Returns {code, 'done' | 'again' | '', woken…}; code ok, repeat (applied before), stale, transition, more (too many unread commands),
-- unusable (the resource takes no lease), changed (the blueprint is another one), held (a slot lock is).
-- Writes only after all checks pass, except that a resource that turns out unusable leaves the index of free ones.
local id, step = ARGV[3], cjson.decode(ARGV[4])
local key, member = KEYS[1], 'lease:' .. id
local o = read(key, 'status', 'writer', 'version', 'type', 'shape', 'order', 'resource', 'slots', 'allocation', 'owner', 'blueprint')
local code, state = guard(o, step, key)
if code == 'repeat' then return {code, step.finish and finish(key, member, step.finish) or ''} end
if code ~= 'ok' then return {code, ''} end

-- A lease becomes acquired by taking a place, and takes one in no other way.
local take = step.acquire
if (take ~= nil) ~= (step.path ~= nil and step.path[1] == 'acquired') then return {'transition', ''} end
if take then
  local r = read(P .. 'resource:' .. take.resource, 'status', 'paused', 'releases', 'capacity', 'blueprint')
  local load = redis.call('ZCARD', P .. 'resource:' .. take.resource .. ':leases')
  if r.status ~= 'active' or r.paused == '1' or (tonumber(r.releases) or 0) > 0 or load >= tonumber(r.capacity) then
    refree(take.resource)
    return {'unusable', ''}
  end
  if take.idle and load > 0 then return {'unusable', ''} end
  if redis.call('HGET', P .. 'blueprints:revs', r.blueprint) ~= int(take.rev) then return {'changed', ''} end
  if not slots_free(member, take.slots or {}) then return {'held', ''} end
end

consume(key, step, state)
advance(key, 'leases', id, step, state)
if take then
  redis.call('ZADD', P .. 'resource:' .. take.resource .. ':leases', 0, id)
  redis.call('ZADD', P .. 'leases:by-resource:' .. take.resource, 0, id)
  refree(take.resource)
  for _, slot in ipairs(take.slots or {}) do redis.call('SET', P .. 'slot:' .. slot, member) end
end
if step.from == 'pending' and state ~= 'pending' then
  leave_queue(id, o.type, o.shape)
  -- Who leaves without taking anything, or has been woken again meanwhile, leaves something behind that it has not seen.
  local unseen = (not take or redis.call('HGET', key, 'woken') == '1') and 1 or 0
  pass_on(id, o.type, o.shape, o.order, math.max(step.pass or 0, unseen), true)
elseif state == 'pending' and step.from ~= 'pending' then
  join_queue(id, o.type, o.shape, o.order)
elseif state == 'pending' then
  if step.stand_back then stand_back(id, o.type, o.shape) end
  if step.compete then compete(id, o.type, o.shape, o.order) end
  pass_on(id, o.type, o.shape, o.order, step.pass or 0, false)
end
local leaves = o.resource ~= '' and (state == 'destroyed' or (state == 'pending' and step.from ~= 'pending'))
if state == 'destroyed' or leaves then free_slots(member, o.slots) end
if leaves and redis.call('ZREM', P .. 'resource:' .. o.resource .. ':leases', id) == 1 then
  local resource = P .. 'resource:' .. o.resource
  local empty = redis.call('ZCARD', resource .. ':leases') == 0
  if empty then redis.call('HSET', resource, 'idle', int(NOW)) end
  if redis.call('HGET', resource, 'status') == 'active' then
    refill(o.resource)
  elseif empty then
    owe('resource:' .. o.resource)
  end
end
tell_step(member, step, state, o)
return {'ok', step.finish and finish(key, member, step.finish) or '', unpack(woken)}
