-- step_subscription records what became of an event or of a dead letter that was sent.
-- KEYS[1] -> subscription:<name>
-- ARGV[3] -> writer   ARGV[4] -> what: 'sent', 'passed' or 'dead' (the event at the position is done with), 'failed' (it is tried again),
-- 'resent' or 'dead-again' (the dead letter is), 'settled' (no dead letter is left to send again)
-- ARGV[5] -> position, or id of the dead letter   ARGV[6] -> failures   ARGV[7] -> reason   ARGV[8] -> when it is tried again, ms
-- ARGV[9] -> the event   ARGV[10] -> most dead letters
-- Derived: <subscription>:dead.
-- Returns 1 recorded, 0 stale writer. Writes only after all checks pass. A step that was taken before changes nothing.
local what, dead = ARGV[4], KEYS[1] .. ':dead'
local o = read(KEYS[1], 'writer', 'position', 'retry')
if o.writer ~= ARGV[3] then return 0 end

local function bury()
  if redis.call('XLEN', dead) >= tonumber(ARGV[10]) then redis.call('HINCRBY', KEYS[1], 'dropped', '1') end
  redis.call('XADD', dead, 'MAXLEN', ARGV[10], '*', 'd', ARGV[9], 'n', ARGV[6], 'r', ARGV[7])
end

if what == 'failed' then
  redis.call('HSET', KEYS[1], 'failures', ARGV[6], 'error', ARGV[7], 'try_at', ARGV[8])
elseif what == 'resent' or what == 'dead-again' then
  if redis.call('XDEL', dead, ARGV[5]) == 1 then
    if what == 'dead-again' then
      bury()
    else
      redis.call('HINCRBY', KEYS[1], 'sent', '1')
      redis.call('HSET', KEYS[1], 'sent_at', NOW_MS)
    end
  end
elseif what == 'settled' then
  if o.retry == ARGV[5] then redis.call('HDEL', KEYS[1], 'retry') end
elseif o.position ~= ARGV[5] then
  redis.call('HSET', KEYS[1], 'position', ARGV[5], 'failures', '0', 'try_at', '0')
  if what == 'sent' then
    redis.call('HINCRBY', KEYS[1], 'sent', '1')
    redis.call('HSET', KEYS[1], 'sent_at', NOW_MS, 'error', '')
  elseif what == 'dead' then
    redis.call('HSET', KEYS[1], 'error', ARGV[7])
    bury()
  end
end
return 1
