-- Shared head of every script. KEYS[1] is always a key of the namespace; all keys that a script derives start with its
-- prefix and so share its hash tag (docs/adr/0002). ARGV[1] is the time in ms since the epoch, 0 = the server's own, and how many
-- events the namespace keeps; ARGV[2] is the visibility in ms: how long an enqueued or claimed object stays out of the sweeper's sight.
local P = string.match(KEYS[1], '^drydock:{[^}]*}:')
local NOW, EVENTS_KEPT = string.match(ARGV[1], '^(%d+) (%d+)$')
NOW = tonumber(NOW)
if NOW == 0 then
  local t = redis.call('TIME')
  NOW = t[1] * 1000 + math.floor(t[2] / 1000)
end
local VISIBLE_AT = NOW + tonumber(ARGV[2])

-- How many queues of different requirements one event looks at; the word is passed on by the waiters themselves.
local MAX_SHAPES = 100
-- About how many entries a log keeps.
local LOG_LENGTH = 1000
-- One lease on a resource outweighs any instant in the score of the free index: ms since the epoch stay below 1e13.
local LOAD_WEIGHT = 1e13

local function int(n) return string.format('%.0f', n) end

-- read returns the named fields of a hash as a table; absent ones are ''.
local function read(key, ...)
  local names = {...}
  local values = redis.call('HMGET', key, unpack(names))
  local t = {}
  for i, name in ipairs(names) do t[name] = values[i] or '' end
  return t
end

local function member_key(member)
  local kind, id = string.match(member, '^(%a+):(.+)$')
  return P .. kind .. ':' .. id
end

-- stamp writes a JSON object whose first field is an instant: rest is the object without its opening brace.
local function stamp(field, rest) return '{"' .. field .. '":' .. int(NOW) .. ',' .. rest end
-- holds tells whether a condition holds of a thing that is there or not and has a rev: 'any', 'some' (it is there), 'none' (it is not), or
-- the rev.
local function holds(condition, there, rev)
  return condition == 'any' or condition == int(rev) or (condition == 'some' and there) or (condition == 'none' and not there)
end

-- log appends to the object's own log.
local function log(key, event, text, command, fence, worker)
  redis.call('XADD', key .. ':log', 'MAXLEN', '~', LOG_LENGTH, '*', 'e', event, 't', text, 'c', command or '',
    'f', fence or 0, 'w', worker or '')
end

-- about makes a list of fields and values for tell, without those that have no value.
local function about(...)
  local list = {}
  for i = 1, select('#', ...), 2 do
    local name, value = select(i, ...)
    if value and value ~= '' then
      list[#list + 1] = name
      list[#list + 1] = value
    end
  end
  return list
end

-- tell appends to the namespace's events, which readers follow to see that an object has changed and what happened to it. One write
-- of an object is one entry: o object, e event, s status; more may hold t text, c command, y type, u owner, r resource, b blueprint,
-- n name, f fence, w worker, and for what the same write did before its last event e1, t1, c1, e2, t2, c2 and so on (store/event.go).
local function tell(member, event, status, more)
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', EVENTS_KEPT, '*', 'o', member, 'e', event, 's', status, unpack(more or {}))
end

-- owe records that an object is owed an update. The objects in `woken` turned their flag on just now: whoever runs the
-- script enqueues a task for each, and if it dies first, the sweeper does when VISIBLE_AT has passed.
local woken = {}
local function owe(member)
  redis.call('ZADD', P .. 'wake', 'LT', int(VISIBLE_AT), member)
  local key = member_key(member)
  if redis.call('HGET', key, 'woken') ~= '1' then
    redis.call('HSET', key, 'woken', '1')
    woken[#woken + 1] = member
  end
end

-- woken_before is for a write that was sent again because its reply was lost: the object is woken, unless it was claimed meanwhile.
local function woken_before(member)
  if redis.call('HGET', member_key(member), 'woken') == '1' then woken[1] = member end
end

-- What a script has done that its caller cannot know: commands pushed, by kind of object, and commands consumed unread.
local tally = {lease = 0, resource = 0, unread = 0}
local function tallied()
  if tally.lease + tally.resource + tally.unread == 0 then return '' end
  return tally.lease .. ' ' .. tally.resource .. ' ' .. tally.unread
end

-- push stores a command on an object's queue and returns its record. The caller has checked that the object takes it.
local function push(member, cid, rest, name, text, releases)
  local key, record = member_key(member), stamp('sent_ms', rest)
  redis.call('HSET', key .. ':records', cid, record)
  redis.call('RPUSH', key .. ':commands', cid)
  local kind = string.match(member, '^%a+')
  tally[kind] = tally[kind] + 1
  if releases then redis.call('HINCRBY', key, 'releases', 1) end
  log(key, 'command-sent', text, cid)
  return record
end

-- Waiting leases. `waiting:<type>` holds all of them by order. Those that would take anything now also stand in the queue
-- of their shape (leases that ask for the same), `waiting:<type>:shape:<shape>`, and `waiting:<type>:shapes` holds the
-- shapes by the order of their first lease. A lease that waits at gates has another shape as long as it does, `gated_shape`: it can
-- take less than what it asks for.
local function shape_of(o) return o.gated_shape ~= '' and o.gated_shape or o.shape end

local function refresh_shape(rtype, shape)
  local shapes, queue = P .. 'waiting:' .. rtype .. ':shapes', P .. 'waiting:' .. rtype .. ':shape:' .. shape
  local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
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
        local hears = redis.call('HGET', P .. 'lease:' .. same, 'woken') == '1'
        owe('lease:' .. same)
        if hears then return end
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
  for _, twin in ipairs(redis.call('ZRANGE', shapes, order, order, 'BYSCORE', 'LIMIT', 0, MAX_SHAPES)) do
    if twin > shape and not next_shape then
      next_shape = twin
    elseif left and twin < shape then
      local first = redis.call('ZRANGE', prefix .. twin, 0, 0)
      if first[1] then owe('lease:' .. first[1]) end
    end
  end
  if not next_shape then
    local later = redis.call('ZRANGE', shapes, '(' .. order, '+inf', 'BYSCORE', 'LIMIT', 0, 2)
    next_shape = later[1] == shape and later[2] or later[1]
  end
  local head = next_shape and redis.call('ZRANGE', prefix .. next_shape, 0, 0) or {}
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
    local head = redis.call('ZRANGE', prefix .. shape, 0, 0)
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
  local head = redis.call('ZRANGE', gate_key(blueprint, owner), 0, 0)
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
      local behind = redis.call('ZRANGE', key, order, '+inf', 'BYSCORE', 'LIMIT', 0, 1)
      if behind[1] then owe('lease:' .. behind[1]) end
      if redis.call('EXISTS', key) == 0 then redis.call('ZREM', P .. 'blueprint:' .. blueprint .. ':gates', owner) end
    end
  end
end

local function list_of(json) return json ~= '' and cjson.decode(json) or {} end

-- admit_some wakes the first lease at each gate of a blueprint, a hundred owners from the cursor on. It returns the cursor to go on
-- from, '' = that was all.
local function admit_some(blueprint, cursor)
  local from = cursor == '' and '-' or '(' .. cursor
  local owners = redis.call('ZRANGE', P .. 'blueprint:' .. blueprint .. ':gates', from, '+', 'BYLEX', 'LIMIT', 0, MAX_SHAPES)
  for _, owner in ipairs(owners) do admit(blueprint, owner) end
  return #owners == MAX_SHAPES and owners[#owners] or ''
end

-- fits is the part of the blueprint's own check that needs no blueprint: attributes and allowed names.
local function fits(lease_id, attributes, blueprint)
  local l = read(P .. 'lease:' .. lease_id, 'attributes', 'blueprints', 'gates')
  for _, name in ipairs(list_of(l.gates)) do
    if name == blueprint then return false end
  end
  if l.attributes ~= '' then
    for name, value in pairs(cjson.decode(l.attributes)) do
      if attributes[name] ~= value then return false end
    end
  end
  if l.blueprints == '' then return true end
  for _, name in ipairs(cjson.decode(l.blueprints)) do
    if name == blueprint then return true end
  end
  return false
end

-- wake_fitting wakes the first waiting leases that fit a resource with room for `room` of them.
local function wake_fitting(rtype, attributes, blueprint, room)
  local prefix = P .. 'waiting:' .. rtype .. ':shape:'
  local shapes = redis.call('ZRANGE', P .. 'waiting:' .. rtype .. ':shapes', 0, MAX_SHAPES)
  if not shapes[1] then return end
  attributes = attributes ~= '' and cjson.decode(attributes) or {}
  for i, shape in ipairs(shapes) do
    local heads = redis.call('ZRANGE', prefix .. shape, 0, math.min(room, MAX_SHAPES) - 1)
    if heads[1] and (i > MAX_SHAPES or fits(heads[1], attributes, blueprint)) then
      for _, id in ipairs(heads) do
        owe('lease:' .. id)
        room = room - 1
      end
      if room <= 0 then return end
    end
  end
end

-- tend wakes the update of a blueprint that keeps resources idle: it may have to make another.
local function tend(blueprint)
  if (tonumber(redis.call('HGET', P .. 'blueprint:' .. blueprint, 'min_idle')) or 0) > 0 then owe('blueprint:' .. blueprint) end
end

-- refree puts a resource in the index of what can be leased, least loaded first, then longest idle, or takes it out, and the same with
-- the index of what its blueprint has idle; it returns how many more leases the resource takes, and what was read of it.
local function refree(id)
  local r = read(P .. 'resource:' .. id, 'status', 'paused', 'releases', 'capacity', 'type', 'blueprint', 'attributes')
  if r.status == '' then return 0, r end
  local load = redis.call('ZCARD', P .. 'resource:' .. id .. ':leases')
  local room = tonumber(r.capacity) - load
  local usable = r.status == 'active' and r.paused ~= '1' and (tonumber(r.releases) or 0) == 0
  local idle = P .. 'blueprint:' .. r.blueprint .. ':idle'
  if usable and load == 0 then
    redis.call('SADD', idle, id)
  elseif redis.call('SREM', idle, id) == 1 then
    tend(r.blueprint)
  end
  if not usable or room <= 0 then
    redis.call('ZREM', P .. 'free:' .. r.type, id)
    return 0, r
  end
  redis.call('ZADD', P .. 'free:' .. r.type, int(load * LOAD_WEIGHT + NOW), id)
  return room, r
end

-- refill offers a resource's room to those who wait for it.
local function refill(id)
  local room, r = refree(id)
  if room > 0 then wake_fitting(r.type, r.attributes, r.blueprint, room) end
end

-- free_slots also counts in `freed`, so that whoever has seen that something is held need not look again until the number is another.
local function free_slots(member, slots)
  if slots == '' then return end
  for _, slot in ipairs(cjson.decode(slots)) do
    if redis.call('GET', P .. 'slot:' .. slot) == member then
      redis.call('DEL', P .. 'slot:' .. slot)
      redis.call('INCR', P .. 'freed')
    end
  end
end

local function slots_free(member, slots)
  for _, slot in ipairs(slots) do
    local owner = redis.call('GET', P .. 'slot:' .. slot)
    if owner and owner ~= member then return false end
  end
  return true
end

-- move puts an object in the index of its new state.
local function move(plural, id, from, to)
  redis.call('ZREM', P .. plural .. ':' .. from, id)
  redis.call('ZADD', P .. plural .. ':' .. to, 0, id)
end

-- show returns an object as readers want it: its fields, its data as {value, rev}, then for a lease its position in the queue (0 =
-- none), for a resource its leases.
local function show(member)
  local key = member_key(member)
  local fields, data = redis.call('HGETALL', key), redis.call('HMGET', key .. ':data', 'value', 'rev')
  if string.sub(member, 1, 9) == 'resource:' then return {fields, data, redis.call('ZRANGE', key .. ':leases', 0, -1)} end
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
