-- apply_blueprint writes one step of a blueprint's own update, and makes a spare resource if the step says so, all or nothing.
-- KEYS[1] -> blueprint:<name>
-- ARGV[3] -> name   ARGV[4] -> the step, JSON   ARGV[5] -> id of the spare, '' = none   ARGV[6:] -> fields and values of the spare
-- Derived: <blueprint>:log, :resources, :idle, :making, blueprints:revs, resource:<id>, resources, resources:pending, slot:<key>, wake,
-- events.
-- Returns {code, 'done' | 'again' | '', tally, woken…}; code ok, repeat (applied before), stale, changed (the blueprint is another one), limit,
-- held (a slot lock is), enough (there are as many idle as there shall be).
-- Writes only after all checks pass.
local name, step, id = ARGV[3], cjson.decode(ARGV[4]), ARGV[5]
local key, member = KEYS[1], 'blueprint:' .. name
local o = read(key, 'status', 'writer', 'version', 'woken', 'busy', 'type')
local code, state = guard(o, step, key)
if code == 'repeat' then return {code, done(key, member, step, o.status)} end
if code ~= 'ok' then return {code, ''} end
if id ~= '' then
  local refusal = may_make('resource:' .. id, step)
  if refusal then return {refusal, ''} end
  if redis.call('SCARD', key .. ':idle') + redis.call('SCARD', key .. ':making') >= step.min_idle then return {'enough', ''} end
end

advance(key, 'blueprints', name, step, state, o)
if id ~= '' then
  make(id, o.type, step, 6, 'allocated to be kept idle')
  redis.call('SADD', key .. ':making', id)
end
return {'ok', done(key, member, step, state), tallied(), unpack(woken)}
