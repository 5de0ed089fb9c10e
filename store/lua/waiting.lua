-- Who waits: leases, by what they ask for, and owners at the gates of blueprints.

-- Waiting leases. `waiting:<type>` holds all of them by order. Those that would take anything now also stand in the queue
-- of their shape (leases that ask for the same), `waiting:<type>:shape:<shape>`, and `waiting:<type>:shapes` holds the
-- shapes by the order of their first lease. A lease that waits at gates has another shape as long as it does, `gated_shape`: it can
-- take less than what it asks for.
local function shape_of(o) return o.gated_shape ~= '' and o.gated_shape or o.shape end

local function refresh_shape(rtype, shape)
  local shapes, queue = P .. 'waiting:' .. rtype .. ':shapes', P .. 'waiting:' .. rtype .. ':shape:' .. shape
  local head = redis.call('ZRANGE', queue, '0', '0', 'WITHSCORES')
  if head[1] then redis.call('ZADD', shapes, head[2], shape) else redis.call('ZREM', shapes, shape) end
end

local function compete(id, rtype, shape, order)
  redis.call('ZADD', P .. 'waiting:' .. rtype .. ':shape:' .. shape, order, id)
  refresh_shape(rtype, shape)
end

-- stand_back reports whether the lease has competed until now.
local function stand_back(id, rtype, shape)
  local left = redis.call('ZREM', P .. 'waiting:' .. rtype .. ':shape:' .. shape, id) == 1
  refresh_shape(rtype, shape)
  return left
end

local function join_queue(id, rtype, shape, order)
  redis.call('ZADD', P .. 'waiting:' .. rtype, order, id)
  compete(id, rtype, shape, order)
end

-- wake_some wakes the first n leases of a queue, except one, up to the first that has been woken and has not looked yet: that one passes
-- the word on when it does.
local function wake_some(queue, n, id)
  for at = 0, n - 1, 10 do
    for _, same in ipairs(redis.call('ZRANGE', queue, at, math.min(at + 10, n) - 1)) do
      if same ~= id then
        if owe('lease:' .. same) then return end
      end
    end
  end
end

-- pass_on wakes those who may take what a waiter leaves behind: the first n of its own shape, if it left the queue, and the first
-- of the next shape. Shapes of one millisecond stand by name, so that the word reaches each of them and comes back to none. Only of those
-- who leave a queue all shapes of their millisecond hear: one that has changed its own since may stand before them now.
local function pass_on(id, rtype, shape, order, n, left)
  if n <= 0 then return end
  local shapes, prefix = P .. 'waiting:' .. rtype .. ':shapes', P .. 'waiting:' .. rtype .. ':shape:'
  if left then
    wake_some(prefix .. shape, math.min(n, MAX_SHAPES), id)
  end
  local next_shape
  for _, twin in ipairs(redis.call('ZRANGE', shapes, order, order, 'BYSCORE', 'LIMIT', '0', MAX_SHAPES)) do
    if twin > shape and not next_shape then
      next_shape = twin
    elseif left and twin < shape then
      local first = redis.call('ZRANGE', prefix .. twin, '0', '0')
      if first[1] then owe('lease:' .. first[1]) end
    end
  end
  if not next_shape then
    local later = redis.call('ZRANGE', shapes, '(' .. order, '+inf', 'BYSCORE', 'LIMIT', '0', '2')
    next_shape = later[1] == shape and later[2] or later[1]
  end
  local head = next_shape and redis.call('ZRANGE', prefix .. next_shape, '0', '0') or {}
  if head[1] then owe('lease:' .. head[1]) end
end

local function leave_queue(id, rtype, shape)
  redis.call('ZREM', P .. 'waiting:' .. rtype, id)
  stand_back(id, rtype, shape)
end

-- wake_heads wakes the first lease of each of a hundred shapes, from the offset on: something has changed that may help anybody. It
-- returns how many shapes there were.
local function wake_heads(rtype, offset)
  local prefix = P .. 'waiting:' .. rtype .. ':shape:'
  local shapes = redis.call('ZRANGE', P .. 'waiting:' .. rtype .. ':shapes', offset, offset + MAX_SHAPES - 1)
  for _, shape in ipairs(shapes) do
    local head = redis.call('ZRANGE', prefix .. shape, '0', '0')
    if head[1] then owe('lease:' .. head[1]) end
  end
  return #shapes
end

-- Owners. `blueprint:<name>:held:<owner>` are the leases of an owner that have a place on the blueprint's resources, or that one is
-- being made for: what a quota counts. A lease that a blueprint does not admit because of its owner waits at that blueprint's gate,
-- `blueprint:<name>:gate:<owner>`, by order, and `blueprint:<name>:gates` lists the owners with such leases. An event wakes the first at
-- the gate. If that one finds the gate still shut, so would all behind it; if not, it leaves the gate and the next is woken.
local function held_key(blueprint, owner) return P .. 'blueprint:' .. blueprint .. ':held:' .. owner end
local function gate_key(blueprint, owner) return P .. 'blueprint:' .. blueprint .. ':gate:' .. owner end

-- held_by_others counts an owner's leases on a blueprint, but for the one with the id.
local function held_by_others(blueprint, owner, id)
  local key = held_key(blueprint, owner)
  return redis.call('SCARD', key) - redis.call('SISMEMBER', key, id)
end

-- authorization returns what an operator has said about an owner: requested, approved, declined; '' = nobody has asked.
local function authorization(blueprint, owner)
  local record = redis.call('HGET', P .. 'blueprint:' .. blueprint .. ':authorizations', owner)
  return record and cjson.decode(record).status or ''
end

local function admit(blueprint, owner)
  local head = redis.call('ZRANGE', gate_key(blueprint, owner), '0', '0')
  if head[1] then owe('lease:' .. head[1]) end
end

local function give_back(blueprint, owner, id)
  if blueprint ~= '' and redis.call('SREM', held_key(blueprint, owner), id) == 1 then admit(blueprint, owner) end
end

-- shut reports whether a gate is shut for the reason that the step gives.
local function shut(gate, owner, id)
  if redis.call('HGET', P .. 'blueprints:revs', gate.blueprint) ~= int(gate.rev) then return false end
  if gate.quota and held_by_others(gate.blueprint, owner, id) < gate.quota then return false end
  return not gate.authorization or authorization(gate.blueprint, owner) == gate.authorization
end

-- leave_gates takes a lease from the gates in the list and lets the next one look.
local function leave_gates(id, owner, order, gates)
  for _, blueprint in ipairs(gates) do
    local key = gate_key(blueprint, owner)
    if redis.call('ZREM', key, id) == 1 then
      local behind = redis.call('ZRANGE', key, order, '+inf', 'BYSCORE', 'LIMIT', '0', '1')
      if behind[1] then owe('lease:' .. behind[1]) end
      if redis.call('EXISTS', key) == 0 then redis.call('ZREM', P .. 'blueprint:' .. blueprint .. ':gates', owner) end
    end
  end
end

-- admit_some wakes the first lease at each gate of a blueprint, a hundred owners from the cursor on. It returns the cursor to go on
-- from, '' = that was all.
local function admit_some(blueprint, cursor)
  local from = cursor == '' and '-' or '(' .. cursor
  local owners = redis.call('ZRANGE', P .. 'blueprint:' .. blueprint .. ':gates', from, '+', 'BYLEX', 'LIMIT', '0', MAX_SHAPES)
  for _, owner in ipairs(owners) do admit(blueprint, owner) end
  return #owners == MAX_SHAPES and owners[#owners] or ''
end
