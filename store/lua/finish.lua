-- finish ends an update that had nothing (more) to apply.
-- KEYS[1] -> lease:<id> or resource:<id>
-- ARGV[3] -> member   ARGV[4] -> writer   ARGV[5] -> instant to look again in ms, 0 = when something comes in
-- Derived: <object>:commands, wake.
-- Returns 'done', 'again' (something came in: run again) or 'stale'. Writes only after all checks pass; running it again is
-- harmless.
if redis.call('HGET', KEYS[1], 'writer') ~= ARGV[4] then return 'stale' end
return finish(KEYS[1], ARGV[3], tonumber(ARGV[5]))
