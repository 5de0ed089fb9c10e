-- authorize stores that an owner asks for a blueprint, or what an operator says to that.
-- KEYS[1] -> blueprints   ARGV[3] -> blueprint   ARGV[4] -> owner   ARGV[5] -> requested, approved or declined
-- ARGV[6] -> token of this call   ARGV[7] -> record without its opening brace
-- Derived: authorizations, blueprint:<name>:authorizations, :held:<owner>, :gate:<owner>, wake.
-- Returns {code, record, number of the owner's leases, woken…}: 1 stored, 0 it says so already, -1 no such blueprint, -2 the blueprint
-- takes no requests. Writes only after all checks pass. The same token changes nothing and gets the first answer.
local name, owner, status = ARGV[3], ARGV[4], ARGV[5]
local declared = redis.call('HGET', KEYS[1], name)
if not declared then return {-1, '', 0} end
if cjson.decode(declared).authorize ~= 'request' then return {-2, '', 0} end
local records = P .. 'blueprint:' .. name .. ':authorizations'
local held = redis.call('SCARD', held_key(name, owner))
local old = redis.call('HGET', records, owner)
local was = old and cjson.decode(old) or {}
if was.token == ARGV[6] then return {1, old, held} end
-- A request never undoes a decision.
if was.status == status or (old and status == 'requested') then return {0, old, held} end
local record = '{"requested_ms":' .. int(was.requested_ms or NOW) .. ',"token":"' .. ARGV[6] .. '","status":"' .. status .. '",' ..
  string.sub(stamp('changed_ms', ARGV[7]), 2)
redis.call('HSET', records, owner, record)
redis.call('ZADD', P .. 'authorizations', '0', name .. ' ' .. owner)
admit(name, owner)
return {1, record, held, unpack(woken)}
