-- Where there is room: resources that can be leased, and slot locks.

-- One lease on a resource outweighs any instant in the score of the free index: ms since the epoch stay below 1e13.
local LOAD_WEIGHT = 1e13

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
  local shapes = redis.call('ZRANGE', P .. 'waiting:' .. rtype .. ':shapes', '0', MAX_SHAPES)
  if not shapes[1] then return end
  attributes = attributes ~= '' and cjson.decode(attributes) or {}
  for i, shape in ipairs(shapes) do
    local heads = redis.call('ZRANGE', prefix .. shape, '0', math.min(room, MAX_SHAPES) - 1)
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

-- occupancy reads of a resource what decides whether it can be leased: load is how many leases it has, usable that it is fit for any.
local function occupancy(id)
  local r = read(P .. 'resource:' .. id, 'status', 'paused', 'releases', 'capacity', 'type', 'blueprint', 'attributes', 'retire')
  r.load = redis.call('ZCARD', P .. 'resource:' .. id .. ':leases')
  r.usable = r.status == 'active' and r.paused ~= '1' and (tonumber(r.releases) or 0) == 0
  return r
end

-- refree puts a resource in the index of what can be leased, least loaded first, then longest idle, or takes it out, and the same with
-- the index of what its blueprint has idle; it returns how many more leases the resource takes. r is its occupancy. A caller who knows that the
-- resource has had other leases all the time says that it is shared: it has not been idle then, and is not now.
local function refree(id, r, shared)
  if r.status == '' then return 0 end
  local idle = P .. 'blueprint:' .. r.blueprint .. ':idle'
  if r.usable and r.load == 0 then
    redis.call('SADD', idle, id)
  elseif not shared and redis.call('SREM', idle, id) == 1 then
    tend(r.blueprint)
  end
  local room = tonumber(r.capacity) - r.load
  if not r.usable or room <= 0 then
    redis.call('ZREM', P .. 'free:' .. r.type, id)
    return 0
  end
  redis.call('ZADD', P .. 'free:' .. r.type, int(r.load * LOAD_WEIGHT + NOW), id)
  return room
end

-- refill is refree, and offers the resource's room to those who wait for it.
local function refill(id, r, shared)
  local room = refree(id, r, shared)
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
