-- sample_usage notes how many leases are in use and how many wait, unless somebody has done so within the last while.
-- KEYS[1] -> usage   ARGV[3] -> how long a sample lasts in ms   ARGV[4] -> how many samples are kept
-- Derived: leases:<status>. A sample holds ms when, u in use, w waiting.
-- Returns nothing. Run again it finds its own sample.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', '1')[1]
if last and NOW < tonumber(last[2][2]) + tonumber(ARGV[3]) then return {} end
local function count(status) return redis.call('ZCARD', P .. 'leases:' .. status) end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'ms', NOW_MS, 'u', count('acquired') + count('active'), 'w', count('pending'))
return {}
