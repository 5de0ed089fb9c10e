-- busy puts an object off because somebody else holds its lock: the first time by ARGV[5], then twice as long each time, at
-- most the visibility, and not for longer than the lock lives: its holder may have died. It never puts off what is owed sooner.
-- KEYS[1] -> lease:<id> or resource:<id>   ARGV[3] -> member   ARGV[4] -> token of this attempt   ARGV[5] -> first delay in ms
-- Derived: wake, lock:<member>.
-- Returns the delay in ms, 0 = no such object. Writes only after all checks pass; the same token counts once.
-- How long after the end of the lock an object is looked at, in ms.
local AFTER_LOCK = 50
local o = read(KEYS[1], 'status', 'busy')
if o.status == '' then return 0 end
local count, token = string.match(o.busy, '^(%d+) (.*)$')
count = tonumber(count) or 0
if token ~= ARGV[4] then count = count + 1 end
local delay = math.min(tonumber(ARGV[5]) * 2 ^ math.min(count - 1, 20), tonumber(ARGV[2]))
-- Locks on servers of their own are not seen here.
local left = redis.call('PTTL', P .. 'lock:' .. ARGV[3])
if left > 0 then delay = math.min(delay, left + AFTER_LOCK) end
redis.call('HSET', KEYS[1], 'busy', int(count) .. ' ' .. ARGV[4])
redis.call('ZADD', P .. 'wake', 'LT', int(NOW + delay), ARGV[3])
return delay
