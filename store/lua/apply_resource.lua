-- apply_resource writes one step of a resource: commands consumed, state, the orders to its leases, slot locks, logs and whom
-- it wakes, all or nothing.
-- KEYS[1] -> resource:<id>   ARGV[3] -> id   ARGV[4] -> the step, JSON of Go's ResourceStep
-- Derived: <resource>:commands, :records, :history, :log, :leases, resources:<status>, lease:<id>… of its leases, free:<type>,
-- slot:<key>, waiting:<type>…, blueprint:<name>, :resources, :idle, :making, wake, collectable, events.
-- Returns {code, 'done' | 'again' | '', tally, woken…}; code ok, repeat (applied before), stale, transition, more (too many unread commands),
-- leased (a lease has a place on it, and the step asked for none), needed (its blueprint would have too few idle ones without it).
-- Writes only after all checks pass.
local id, step = ARGV[3], cjson.decode(ARGV[4])
local key, member = KEYS[1], 'resource:' .. id
local o = read(key, 'status', 'writer', 'version', 'woken', 'busy', 'type', 'blueprint', 'slots', 'for_lease', 'sublease', 'name', 'idle')
local code, state, unread = guard(o, step, key)
-- A lease that leaves has only moved the resource's time in wake, which this run does not know.
local function rest(state)
  if step.finish and state ~= 'destroyed' and o.idle ~= (step.idle or '') then return 'again' end
  return done(key, member, step, state)
end
if code == 'repeat' then return {code, rest(o.status)} end
if code ~= 'ok' then return {code, ''} end
if step.unleased and redis.call('ZCARD', key .. ':leases') > 0 then return {'leased', ''} end
local siblings = P .. 'blueprint:' .. o.blueprint
-- The release that is being consumed has taken it off the index of idle ones already.
if step.keep_idle and redis.call('SCARD', siblings .. ':idle') < step.keep_idle then return {'needed', ''} end

consume(key, step, state, unread)
advance(key, 'resources', id, step, state, o)
-- A resource's capacity bounds this loop.
if step.cascade then
  for i, lease in ipairs(redis.call('ZRANGE', key .. ':leases', '0', '-1')) do
    local l = read(P .. 'lease:' .. lease, 'status', 'type', 'owner', 'blueprint')
    if l.status ~= '' and string.find(step.cascade.states, ',' .. l.status .. ',', 1, true) then
      local cid = step.cascade.id .. string.format('%04d', i)
      push('lease:' .. lease, cid, step.cascade.rest, 'release', step.cascade.text, true)
      owe('lease:' .. lease)
      tell('lease:' .. lease, l.status, about({'e', 'command-sent', 't', step.cascade.text, 'c', cid}, 'y', l.type, 'u', l.owner, 'r', id,
        'b', l.blueprint))
    end
  end
end
if step.from == 'pending' and state ~= 'pending' and o.for_lease ~= '' then
  local l = read(P .. 'lease:' .. o.for_lease, 'status', 'type', 'shape', 'gated_shape', 'order', 'allocation', 'failed')
  if l.status == 'pending' and l.allocation == id then
    -- One that broke will likely break again: the lease takes its time before it has the same blueprint make another.
    if step.path[1] == 'broken' then
      local count = tonumber(string.match(l.failed, '^%d+')) or 0
      redis.call('HSET', P .. 'lease:' .. o.for_lease, 'failed', int(count + 1) .. ' ' .. NOW_MS .. ' ' .. o.blueprint)
    end
    compete(o.for_lease, l.type, shape_of(l), l.order)
    owe('lease:' .. o.for_lease)
  end
end
if step.from == 'pending' and state ~= 'pending' then
  if redis.call('SREM', siblings .. ':making', id) == 1 then tend(o.blueprint) end
end
if state == 'active' then
  if step.from ~= state or step.refill then refill(id, occupancy(id)) else refree(id, occupancy(id)) end
else
  refree(id, occupancy(id))
end
if state == 'destroyed' then
  free_slots(member, o.slots)
  redis.call('ZREM', siblings .. ':resources', id)
  tend(o.blueprint)
  -- What it stood on is given back after its own clean-up and not before.
  if o.sublease ~= '' and redis.call('EXISTS', P .. 'lease:' .. o.sublease) == 1 then
    order('lease:' .. o.sublease, step.sub_release)
    if redis.call('HGET', P .. 'lease:' .. o.sublease, 'status') ~= 'destroyed' then owe('lease:' .. o.sublease) end
  end
  wake_heads(o.type, 0)
end
tell_step(member, step, state, o)
return {'ok', rest(state), tallied(), unpack(woken)}
