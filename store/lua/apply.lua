-- Shared by the apply scripts: the guard in front of every write, and the parts of a step that leases and resources have
-- in common. A step is the JSON of Go's LeaseStep or ResourceStep.

-- The most commands that one write drains unread when an object is destroyed.
local MAX_DRAIN = 1000

-- guard decides whether this run may write; it also returns the state that the step leads to, and how many commands are left unread in an
-- object that is destroyed. The first write of a run takes the pen, unless somebody has taken it since the run began: writers are random
-- and never come back. Only the writer raises the version, so "mine, and one higher than I read" means that this very step was applied and
-- its reply was lost.
local function guard(o, step, key)
  local first = o.writer ~= step.writer and step.first
  if o.status == '' or o.writer ~= (first or step).writer then return 'stale' end
  local version = tonumber(o.version)
  if version == step.version + 1 and not first then return 'repeat' end
  if version ~= step.version or o.status ~= step.from then return 'stale' end
  local path = step.path or {}
  local handled, heads = #(step.consume or {}), {}
  if handled > 0 or path[#path] == 'destroyed' then heads = redis.call('LRANGE', key .. ':commands', '0', handled) end
  for i = 1, handled do
    if heads[i] ~= step.consume[i] then return 'stale' end
  end
  local state = step.from
  for _, to in ipairs(path) do
    if not (TRANSITIONS[state] and TRANSITIONS[state][to]) then return 'transition' end
    state = to
  end
  local unread = 0
  if state == 'destroyed' and #heads > handled then
    unread = redis.call('LLEN', key .. ':commands') - handled
    if unread > MAX_DRAIN then return 'more' end
  end
  -- A word that came in since the run began has not been heard by it; what is destroyed needs to hear none.
  o.takes_pen = first
  o.unheard = unheard(o.woken) and not (first and o.woken == first.heard) and state ~= 'destroyed'
  return 'ok', state, unread
end

-- note_consumed writes the records of outcomes, records[i] being that of cids[i], a hundred in a write; moved says that the history has the
-- commands already.
local function note_consumed(key, cids, records, moved)
  for first = 1, #cids, 100 do
    local outcomes, ids = {}, {}
    for i = first, math.min(first + 99, #cids) do
      outcomes[#outcomes + 1] = cids[i] .. ':outcome'
      outcomes[#outcomes + 1] = records[i]
      ids[#ids + 1] = cids[i]
    end
    redis.call('HSET', key .. ':records', unpack(outcomes))
    if not moved then redis.call('RPUSH', key .. ':history', unpack(ids)) end
  end
end

-- consume pops what the step handled and, when the object is destroyed, the commands that nobody read any more.
local function consume(key, step, state, unread)
  local cids, records, moved = step.consume or {}, {}, false
  if step.consume then
    if #cids == 1 and unread == 0 then
      redis.call('LMOVE', key .. ':commands', key .. ':history', 'LEFT', 'RIGHT')
      moved = true
    else
      redis.call('LPOP', key .. ':commands', #cids)
    end
    local outcomes = {}
    for i, rest in ipairs(step.outcomes) do outcomes[i] = stamp('consumed_ms', rest) end
    for i = 1, #cids do records[i] = outcomes[step.came_to and step.came_to[i] or 1] end
  end
  if unread > 0 then
    for _, cid in ipairs(redis.call('LPOP', key .. ':commands', unread)) do
      cids[#cids + 1], records[#records + 1] = cid, stamp('consumed_ms', step.superseded)
    end
    tally.unread = tally.unread + unread
  end
  if step.releases and state ~= 'destroyed' then redis.call('HINCRBY', key, 'releases', -step.releases) end
  note_consumed(key, cids, records, moved)
end

-- move puts an object in the index of its new state.
local function move(plural, id, from, to)
  redis.call('ZREM', P .. plural .. ':' .. from, id)
  redis.call('ZADD', P .. plural .. ':' .. to, '0', id)
end

-- advance writes the new state, the instants on the way, the step's own fields, the raised version and the pen if the write takes it, and
-- wakes whom the step names. From the moment it is destroyed an object is collectable, and no command waits for it.
local function advance(key, plural, id, step, state, o)
  local member = string.sub(plural, 1, -2) .. ':' .. id
  local fields = {'version', int(step.version + 1), 'updated', NOW_MS, 'status', state}
  if not o.unheard then
    fields[#fields + 1] = 'woken'
    fields[#fields + 1] = '0'
  end
  if o.takes_pen then
    fields[#fields + 1] = 'writer'
    fields[#fields + 1] = step.writer
    fields[#fields + 1] = 'fence'
    fields[#fields + 1] = step.fence
    if o.busy ~= '' then
      fields[#fields + 1] = 'busy'
      fields[#fields + 1] = ''
    end
    -- Who goes on is out of the sweeper's sight meanwhile.
    if not step.finish then redis.call('ZADD', P .. 'wake', VISIBLE_AT, member) end
  end
  if state == 'destroyed' then
    fields[#fields + 1] = 'releases'
    fields[#fields + 1] = '0'
  end
  for _, to in ipairs(step.path or {}) do
    if to ~= 'broken' and to ~= 'pending' then
      fields[#fields + 1] = to
      fields[#fields + 1] = NOW_MS
    end
  end
  for name, value in pairs(step.set or {}) do
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  redis.call('HSET', key, unpack(fields))
  if state ~= step.from then move(plural, id, step.from, state) end
  if state == 'destroyed' then redis.call('ZADD', P .. 'collectable', NOW_MS, member) end
  if step.log then log(key, step.log) end
  for _, other in ipairs(step.wake or {}) do
    local there = read(member_key(other), 'status', 'woken')
    if there.status ~= '' then owe(other, there.woken) end
  end
end

-- order sends a release on Drydock's own account, unless the object takes none or one is waiting already.
local function order(member, release)
  local o = read(member_key(member), 'status', 'releases')
  if o.status == '' or not string.find(release.states, ',' .. o.status .. ',', 1, true) then return end
  if (tonumber(o.releases) or 0) == 0 then
    push(member, release.id, release.rest, 'release', release.text, true)
    if string.sub(member, 1, 9) == 'resource:' then refree(string.sub(member, 10), occupancy(string.sub(member, 10))) end
    tell(member, o.status, {'e', 'command-sent', 't', release.text, 'c', release.id})
  end
end

-- make stores a resource that is about to be made. The caller has checked that it may be: fields are the names and values of the
-- resource from the given argument on.
local function make(id, rtype, step, first, text)
  local key, member = P .. 'resource:' .. id, 'resource:' .. id
  local fields, name = {'created', NOW_MS, 'updated', NOW_MS}, ''
  for i = first, #ARGV do
    fields[#fields + 1] = ARGV[i]
    if (i - first) % 2 == 1 and ARGV[i - 1] == 'name' then name = ARGV[i] end
  end
  redis.call('HSET', key, unpack(fields))
  redis.call('ZADD', P .. 'resources', '0', id)
  redis.call('ZADD', P .. 'resources:pending', '0', id)
  redis.call('ZADD', P .. 'resources:by-type:' .. rtype, '0', id)
  redis.call('ZADD', P .. 'resources:by-blueprint:' .. step.blueprint, '0', id)
  redis.call('ZADD', P .. 'blueprint:' .. step.blueprint .. ':resources', '0', id)
  for _, slot in ipairs(step.slots or {}) do redis.call('SET', P .. 'slot:' .. slot, member) end
  local done = {'e', 'allocated', 't', text, 'f', step.fence, 'w', step.worker}
  log(key, done)
  owe(member)
  tell(member, 'pending', about(done, 'y', rtype, 'n', name, 'b', step.blueprint))
end

-- may_make checks what must hold whenever a blueprint makes a resource.
local function may_make(member, step)
  if redis.call('HGET', P .. 'blueprints:revs', step.blueprint) ~= int(step.rev) then return 'changed' end
  if step.limit > 0 and redis.call('ZCARD', P .. 'blueprint:' .. step.blueprint .. ':resources') >= step.limit then return 'limit' end
  if not slots_free(member, step.slots or {}) then return 'held' end
end

-- tell_step tells of a step. o has what is known of the object.
local function tell_step(member, step, state, o)
  local set = step.set or {}
  tell(member, state, about(step.log or {'f', step.fence, 'w', step.worker}, 'y', o.type, 'u', o.owner, 'n', o.name,
    'r', set.resource or o.resource, 'b', set.blueprint or o.blueprint))
end

-- done ends the step's update, if it is to end. Nothing is owed to what is destroyed.
local function done(key, member, step, state)
  if not step.finish then return '' end
  if state ~= 'destroyed' then return finish(key, member, step.finish) end
  redis.call('ZREM', P .. 'wake', member)
  return 'done'
end
