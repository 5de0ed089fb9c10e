-- snapshot shows the allocator what a pending lease could take and who stands before it. It writes nothing.
-- KEYS[1] -> lease:<id>   ARGV[3] -> type   ARGV[4] -> order   ARGV[5] -> most resources   ARGV[6] -> most shapes
-- ARGV[7] -> the lease's allocation, '' = none   ARGV[8] -> offset into the free resources   ARGV[9:] -> names of blueprints
-- Derived: free:<type>, resource:<id>, resource:<id>:leases, waiting:<type>…, lease:<id> of those before, blueprint:<name>:resources, :held:<owner>,
-- :authorizations.
-- Returns {resources as {HGETALL, leases}…, those before as {count, HGETALL of the first}…, status of the allocation,
-- by blueprint {number of resources, leases of the same owner that count for its quota, its owner's authorization}}.
local rtype, order = ARGV[3], ARGV[4]
local free, before, counts = {}, {}, {}
local offset = tonumber(ARGV[8])
for _, rid in ipairs(redis.call('ZRANGE', P .. 'free:' .. rtype, offset, offset + tonumber(ARGV[5]) - 1)) do
  local key = P .. 'resource:' .. rid
  free[#free + 1] = {redis.call('HGETALL', key), redis.call('ZRANGE', key .. ':leases', 0, -1)}
end
local prefix = P .. 'waiting:' .. rtype .. ':shape:'
local id, o = string.match(KEYS[1], '([^:]*)$'), read(KEYS[1], 'shape', 'gated_shape', 'owner')
local shape = shape_of(o)
for _, s in ipairs(redis.call('ZRANGE', P .. 'waiting:' .. rtype .. ':shapes', '-inf', order, 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[6]))) do
  local n = redis.call('ZCOUNT', prefix .. s, '-inf', '(' .. order)
  -- Leases of one millisecond stand by shape, then by id: as the shapes' own index has it, and pass_on goes by that.
  for _, twin in ipairs(redis.call('ZRANGE', prefix .. s, order, order, 'BYSCORE', 'LIMIT', 0, 100)) do
    if s < shape or (s == shape and twin < id) then n = n + 1 end
  end
  if n > 0 then
    local head = redis.call('ZRANGE', prefix .. s, 0, 0)[1]
    before[#before + 1] = {n, redis.call('HGETALL', P .. 'lease:' .. head)}
  end
end
local allocation = ''
if ARGV[7] ~= '' then allocation = redis.call('HGET', P .. 'resource:' .. ARGV[7], 'status') or '' end
for i = 9, #ARGV do
  local name = ARGV[i]
  counts[#counts + 1] = {redis.call('ZCARD', P .. 'blueprint:' .. name .. ':resources'), held_by_others(name, o.owner, id), authorization(name, o.owner)}
end
return {free, before, allocation, counts}
