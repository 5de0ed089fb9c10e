-- admit goes on where another script has woken the first leases at a hundred of a blueprint's gates.
-- KEYS[1] -> blueprints   ARGV[3] -> name of the blueprint   ARGV[4] -> cursor
-- Derived: blueprint:<name>:gates, :gate:<owner>, lease:<id> of the first lease at each, wake.
-- Returns {cursor, '' = that was all, woken…}. It checks nothing; running it again wakes nobody twice.
local cursor = admit_some(ARGV[3], ARGV[4])
return {cursor, unpack(woken)}
