-- due hands the sweeper the objects whose time in `wake` has passed and puts them out of sight for the visibility, so that of
-- many sweepers one enqueues each.
-- KEYS[1] -> wake   ARGV[3] -> how many at the most
-- Derived: lease:<id>, resource:<id> or blueprint:<name> of those that are due.
-- Returns {now ms, how many are left, how many of these were woken and not updated since, how many found their lock busy, members…}. If its
-- reply is lost, the objects come back after the visibility.
local members = redis.call('ZRANGE', KEYS[1], '-inf', NOW_MS, 'BYSCORE', 'LIMIT', '0', ARGV[3])
local lost, busy = 0, 0
for _, member in ipairs(members) do
  if string.find(member, '^%a+:.') then
    local o = read(member_key(member), 'busy', 'woken')
    if o.busy ~= '' then
      busy = busy + 1
    elseif unheard(o.woken) then
      lost = lost + 1
    end
  end
  redis.call('ZADD', KEYS[1], VISIBLE_AT, member)
end
return {NOW, redis.call('ZCOUNT', KEYS[1], '-inf', NOW_MS), lost, busy, unpack(members)}
