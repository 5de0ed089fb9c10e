-- snapshot shows the allocator what a pending lease could take and who stands before it. It writes nothing.
-- KEYS[1] -> lease:<id>   ARGV[3] -> type   ARGV[4] -> order   ARGV[5] -> most resources   ARGV[6] -> most shapes
-- ARGV[7] -> the lease's allocation, '' = none   ARGV[8] -> offset into the free resources
-- ARGV[9] -> enough: stop at resources that have room for so many besides those before, 0 = never
-- ARGV[10] -> JSON list of a resource's fields to read, the first one its capacity   ARGV[11] -> and of a lease's that stands before
-- ARGV[12:] -> for each blueprint its name, and what is to be known of it: 'l' resources, 'q' leases of the owner, 'a' the owner's authorization
-- Derived: free:<type>, resource:<id>, resource:<id>:leases, waiting:<type>…, lease:<id> of those before, blueprint:<name>:resources, :held:<owner>,
-- :authorizations, freed.
-- Returns {resources as {values of the fields, number of leases}…, those before as {count, values of the fields of the first}…, status of the allocation,
-- by blueprint {number of resources, leases of the same owner that count for its quota, its owner's authorization}, how often a slot lock
-- was freed, 1 when there are more resources}.
local rtype, order = ARGV[3], ARGV[4]
local free, before, counts, ahead = {}, {}, {}, 0
local prefix = P .. 'waiting:' .. rtype .. ':shape:'
local id, o = string.match(KEYS[1], '([^:]*)$'), read(KEYS[1], 'shape', 'gated_shape', 'owner')
local shape = shape_of(o)
for _, s in ipairs(redis.call('ZRANGE', P .. 'waiting:' .. rtype .. ':shapes', '-inf', order, 'BYSCORE', 'LIMIT', '0', ARGV[6])) do
  local n = redis.call('ZCOUNT', prefix .. s, '-inf', '(' .. order)
  -- Leases of one millisecond stand by shape, then by id: as the shapes' own index has it, and pass_on goes by that.
  for _, twin in ipairs(redis.call('ZRANGE', prefix .. s, order, order, 'BYSCORE', 'LIMIT', '0', '100')) do
    if s < shape or (s == shape and twin < id) then n = n + 1 end
  end
  ahead = ahead + n
  if n > 0 then
    local head = P .. 'lease:' .. redis.call('ZRANGE', prefix .. s, '0', '0')[1]
    seen[head] = seen[head] or redis.call('HMGET', head, unpack(cjson.decode(ARGV[11])))
    before[#before + 1] = {n, seen[head]}
  end
end
local offset, most, enough, room = tonumber(ARGV[8]), tonumber(ARGV[5]), tonumber(ARGV[9]), 0
local names = cjson.decode(ARGV[10])
local rids = redis.call('ZRANGE', P .. 'free:' .. rtype, offset, offset + most)
for i = 1, math.min(#rids, most) do
  local key = P .. 'resource:' .. rids[i]
  seen[key] = seen[key] or {redis.call('HMGET', key, unpack(names)), redis.call('ZCARD', key .. ':leases')}
  free[i] = seen[key]
  if enough > 0 then
    room = room + tonumber(free[i][1][1]) - free[i][2]
    if room >= ahead + enough then break end
  end
end
local allocation = ''
if ARGV[7] ~= '' then allocation = redis.call('HGET', P .. 'resource:' .. ARGV[7], 'status') or '' end
for i = 12, #ARGV, 2 do
  local name, wanted = ARGV[i], ARGV[i + 1]
  local function wants(what) return string.find(wanted, what, 1, true) end
  counts[#counts + 1] = {
    wants('l') and redis.call('ZCARD', P .. 'blueprint:' .. name .. ':resources') or 0,
    wants('q') and held_by_others(name, o.owner, id) or 0,
    wants('a') and authorization(name, o.owner) or '',
  }
end
return {free, before, allocation, counts, tonumber(redis.call('GET', P .. 'freed') or 0), #rids > #free and 1 or 0}
