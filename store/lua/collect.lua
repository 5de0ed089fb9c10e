-- collect deletes all that is left of objects that were destroyed long ago.
-- KEYS[1] -> collectable   ARGV[3] -> retention in ms   ARGV[4] -> how many at the most   ARGV[5] -> highest schema version known
-- Derived: lease:<id>, resource:<id> and all their keys, leases, resources and all their indexes, leases:by-resource:<id>, wake.
-- Returns {how many were collected, how many are left whose time has come}.
-- What is not destroyed leaves `collectable` and is left alone. A resource on which a lease still has a place (its grace elapsed) and
-- an object that a newer Drydock wrote are looked at again after another retention.
-- Writes only after all checks pass. Run again it goes on with the next ones.
local cutoff = int(NOW - tonumber(ARGV[3]))
local gone, strays, later = {}, {}, {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', cutoff, 'BYSCORE', 'LIMIT', '0', ARGV[4])) do
  local kind, id = string.match(member, '^(%a+):(.+)$')
  local known = kind == 'lease' or kind == 'resource'
  local o = known and read(member_key(member), 'status', 'schema', 'type', 'owner', 'resource', 'blueprint') or {}
  if o.status ~= 'destroyed' then
    strays[#strays + 1] = member
  elseif (tonumber(o.schema) or 0) > tonumber(ARGV[5]) or
    (kind == 'resource' and redis.call('ZCARD', member_key(member) .. ':leases') > 0) then
    later[#later + 1] = member
  else
    o.member, o.kind, o.id = member, kind, id
    gone[#gone + 1] = o
  end
end

for _, member in ipairs(strays) do redis.call('ZREM', KEYS[1], member) end
for _, member in ipairs(later) do redis.call('ZADD', KEYS[1], NOW_MS, member) end
for _, o in ipairs(gone) do
  local key, plural = member_key(o.member), P .. o.kind .. 's'
  for _, index in ipairs({'', ':destroyed', ':by-type:' .. o.type}) do redis.call('ZREM', plural .. index, o.id) end
  if o.kind == 'lease' then
    redis.call('ZREM', plural .. ':by-owner:' .. o.owner, o.id)
    redis.call('ZREM', plural .. ':by-resource:' .. o.resource, o.id)
  else
    redis.call('ZREM', plural .. ':by-blueprint:' .. o.blueprint, o.id)
    redis.call('UNLINK', key .. ':leases', P .. 'leases:by-resource:' .. o.id)
  end
  redis.call('UNLINK', key, key .. ':commands', key .. ':records', key .. ':history', key .. ':log', key .. ':data')
  redis.call('ZREM', P .. 'wake', o.member)
  redis.call('ZREM', KEYS[1], o.member)
end
return {#gone, redis.call('ZCOUNT', KEYS[1], '-inf', cutoff)}
