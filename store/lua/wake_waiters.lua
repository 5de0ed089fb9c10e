-- wake_waiters goes on where another script has woken the first hundred shapes of waiting leases.
-- KEYS[1] -> waiting:<type>:shapes   ARGV[3] -> type   ARGV[4] -> offset
-- Derived: waiting:<type>:shape:<shape>, lease:<id> of their first leases, wake.
-- Returns {how many shapes there were, woken…}. It checks nothing; running it again wakes nobody twice.
local n = wake_heads(ARGV[3], tonumber(ARGV[4]))
return {n, unpack(woken)}
