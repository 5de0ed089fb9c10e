-- rewake puts an object that owes an update back into the wake index, due at once. It is for a repair: no other script leaves one out.
-- KEYS[1] -> lease:<id> or resource:<id>   ARGV[3] -> member, "<kind>:<id>"
-- Derived: <object>:commands, wake.
-- Returns {1} when it owes an update and is in wake now, {0} when it owes none. Running it again changes nothing.
local o = read(KEYS[1], 'status', 'woken', 'until')
local owing = {pending = true, acquired = true, released = true, broken = true}
if o.status == '' or o.status == 'destroyed' then return {0} end
if not owing[o.status] and not unheard(o.woken) and (o['until'] == '' or o['until'] == '0')
  and redis.call('LLEN', KEYS[1] .. ':commands') == 0 then return {0} end
redis.call('ZADD', P .. 'wake', 'NX', NOW_MS, ARGV[3])
return {1}
