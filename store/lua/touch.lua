-- touch keeps a claimed object out of the sweeper's sight while its holder works on.
-- KEYS[1] -> lease:<id> or resource:<id>   ARGV[3] -> member   ARGV[4] -> writer
-- Derived: wake.
-- Returns 1 moved, 0 stale writer. Writes only after all checks pass; running it again is harmless.
if redis.call('HGET', KEYS[1], 'writer') ~= ARGV[4] then return 0 end
redis.call('ZADD', P .. 'wake', VISIBLE_AT, ARGV[3])
return 1
