-- finish ends an update that had nothing (more) to apply.
-- KEYS[1] -> lease:<id>, resource:<id> or blueprint:<name>
-- ARGV[3] -> member   ARGV[4] -> writer   ARGV[5] -> instant to look again in ms, 0 = when something comes in
-- ARGV[6] -> the writer that the run read when it began   ARGV[7] -> the version that it read, '' when the run has the pen
-- ARGV[8] -> the word that it has heard   ARGV[9] -> when the last lease left the resource, as the run read it
-- Derived: <object>:commands, wake.
-- Returns 'done', 'again' (something came in, or the resource became idle: run again) or 'stale'. Writes only after all checks pass; running it again is
-- harmless.
local o = read(KEYS[1], 'status', 'writer', 'version', 'woken', 'busy', 'idle')
if o.writer ~= ARGV[4] then
  if ARGV[7] == '' or o.status == '' or o.writer ~= ARGV[6] or o.version ~= ARGV[7] then return 'stale' end
  redis.call('HSET', KEYS[1], 'writer', ARGV[4], 'woken', o.woken == ARGV[8] and '0' or o.woken)
  redis.call('HINCRBY', KEYS[1], 'fence', '1')
  if o.busy ~= '' then redis.call('HSET', KEYS[1], 'busy', '') end
end
if o.idle ~= ARGV[9] then return 'again' end
return finish(KEYS[1], ARGV[3], tonumber(ARGV[5]))
