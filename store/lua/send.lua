-- send puts a command on an object's queue.
-- KEYS[1] -> lease:<id> or resource:<id>
-- ARGV[3] -> member, "<kind>:<id>"   ARGV[4] -> command id   ARGV[5] -> record without its opening brace   ARGV[6] -> command
-- ARGV[7] -> text for the log   ARGV[8] -> ",state,state," that take commands   ARGV[9] -> '1' when the command takes the
-- object back   ARGV[10] -> idempotency key, '' = none   ARGV[11] -> its fingerprint   ARGV[12] -> how long it is remembered, ms
-- ARGV[13] -> highest schema version known   ARGV[14] -> '1' when nobody wants to see the object
-- Derived: <object>:commands, :records, :log, idem:<key>, wake, events, free:<type>.
-- Returns {code, the object as show() has it or {}, {command id, record, outcome} or {}, woken…}: 1 stored, 3 stored before under this
-- id, 0 another request with the key was before, 2 a release of an object that is released or destroyed (nothing to do), -1 the key belongs to another request,
-- -2 no such object, -3 the state takes no commands, -4 unknown schema version.
-- Writes only after all checks pass. The same command id changes nothing, and so does the same key, which gets the first reply but for the
-- code and the woken.
local member, cid, idem = ARGV[3], ARGV[4], ARGV[10]
local function about_command(id)
  if id == '' then return {} end
  local r = redis.call('HMGET', KEYS[1] .. ':records', id, id .. ':outcome')
  return {id, r[1] or '', r[2] or ''}
end
local function object() return ARGV[14] == '1' and {} or show(member) end
local function reply(code, shown, command) return {code, shown, command, unpack(woken)} end

if idem ~= '' then
  local known = known_request(idem)
  if known.fingerprint ~= '' then
    if known.fingerprint ~= ARGV[11] then return {-1} end
    if known.id == cid then woken_before(member) end
    local first = first_reply(known) or {object(), about_command(known.id)}
    return reply(known.id == cid and 3 or 0, first[1], first[2])
  end
end
local o = read(KEYS[1], 'status', 'type', 'owner', 'name', 'resource', 'blueprint', 'schema', 'woken')
if o.status == '' then return {-2} end
local schema = tonumber(o.schema)
if not schema or schema > tonumber(ARGV[13]) then return {-4} end
if redis.call('HEXISTS', KEYS[1] .. ':records', cid) == 1 then
  woken_before(member)
  return reply(3, object(), about_command(cid))
end
local command = {}
local takes = string.find(ARGV[8], ',' .. o.status .. ',', 1, true)
if not takes and ARGV[6] ~= 'release' then return {-3} end

if takes then
  command = {cid, push(member, cid, ARGV[5], ARGV[6], ARGV[7], ARGV[9] == '1'), ''}
  if ARGV[9] == '1' and string.sub(member, 1, 9) == 'resource:' then refree(string.sub(member, 10), occupancy(string.sub(member, 10))) end
  owe(member, o.woken)
  tell(member, o.status, about({'e', 'command-sent', 't', ARGV[7], 'c', cid}, 'y', o.type, 'u', o.owner, 'n', o.name, 'r', o.resource,
    'b', o.blueprint))
end
local shown = object()
if idem ~= '' then remember_request(idem, ARGV[11], cid, {shown, command}, ARGV[12]) end
return reply(takes and 1 or 2, shown, command)
