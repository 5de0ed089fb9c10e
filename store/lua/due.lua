-- due hands the sweeper the objects whose time in `wake` has passed and puts them out of sight for the visibility, so that of
-- many sweepers one enqueues each.
-- KEYS[1] -> wake   ARGV[3] -> how many at the most
-- Returns {now ms, how many are left, members…}. If its reply is lost, the objects come back after the visibility.
local members = redis.call('ZRANGE', KEYS[1], '-inf', int(NOW), 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[3]))
for _, member in ipairs(members) do redis.call('ZADD', KEYS[1], int(VISIBLE_AT), member) end
return {NOW, redis.call('ZCOUNT', KEYS[1], '-inf', int(NOW)), unpack(members)}
