-- What most scripts need.

-- How many queues of different requirements one event looks at; the word is passed on by the waiters themselves.
local MAX_SHAPES = 100
-- Of about how many writes a log keeps what they did; a string, because Redis takes its time to make one of a number.
local LOG_LENGTH = '1000'

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
local function stamp(field, rest) return '{"' .. field .. '":' .. NOW_MS .. ',' .. rest end

-- holds tells whether a condition holds of a thing that is there or not and has a rev: 'any', 'some' (it is there), 'none' (it is not), or
-- the rev.
local function holds(condition, there, rev)
  return condition == 'any' or condition == int(rev) or (condition == 'some' and there) or (condition == 'none' and not there)
end

-- log appends to the object's own log what one write has done: e event, t text, c command, and for what the same write did before its last
-- event e1, t1, c1, e2, t2, c2 and so on (store/event.go); f fence and w worker if it was an update's.
local function log(key, done)
  redis.call('XADD', key .. ':log', 'MAXLEN', '~', LOG_LENGTH, '*', unpack(done))
end

-- about adds to a list of fields and values those that have a value.
local function about(list, ...)
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
-- of an object is one entry: o object, s status, what its log has got, y type, u owner, r resource, b blueprint, n name.
local function tell(member, status, done)
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', EVENTS_KEPT, '*', 'o', member, 's', status, unpack(done))
end

-- unheard reports whether an object has been given a word that no update has heard.
local function unheard(word) return word and word ~= '' and word ~= '0' end

-- owe gives an object the word that it is owed an update, and reports whether it had one already. Words are unique, so that an update which
-- has heard one does not take another for it, not even where a failover has forgotten the first. The objects in `woken` had none: whoever runs
-- the script enqueues a task for each, and if it dies first, the sweeper does when VISIBLE_AT has passed. A caller who has read `woken` says what
-- it was.
local function owe(member, before)
  redis.call('ZADD', P .. 'wake', 'LT', VISIBLE_AT, member)
  local key = member_key(member)
  local had = unheard(before or redis.call('HGET', key, 'woken'))
  redis.call('HSET', key, 'woken', WORD)
  if not had then woken[#woken + 1] = member end
  return had
end

-- woken_before is for a write that was sent again because its reply was lost: the object is woken, unless an update heard it meanwhile.
local function woken_before(member)
  if unheard(redis.call('HGET', member_key(member), 'woken')) then woken[1] = member end
end

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
  if releases then redis.call('HINCRBY', key, 'releases', '1') end
  log(key, {'e', 'command-sent', 't', text, 'c', cid})
  return record
end

local function list_of(json) return json ~= '' and cjson.decode(json) or {} end

-- finish takes the object out of `wake`, or leaves it there until the instant it must be looked at again, 0 = never; it does neither
-- when something came in that the update has not heard, and then the caller runs again.
local function finish(key, member, at)
  if unheard(redis.call('HGET', key, 'woken')) or redis.call('LLEN', key .. ':commands') > 0 then return 'again' end
  if at > 0 then
    redis.call('ZADD', P .. 'wake', int(at), member)
  else
    redis.call('ZREM', P .. 'wake', member)
  end
  return 'done'
end
