-- set_data writes the notes on an object, or removes them. It wakes nobody and leaves fence and version alone.
-- KEYS[1] -> lease:<id> or resource:<id>
-- ARGV[3] -> member   ARGV[4] -> token of this call   ARGV[5] -> value, '' = remove it
-- ARGV[6] -> what must hold of the value
-- Derived: <object>:data, done:<token>, events.
-- Returns {code, rev}: 1 written, -1 no such object, -2 it is destroyed, -3 the condition does not hold.
-- Writes only after all checks pass. The same token changes nothing and gets the first answer, also when others have written since.
local data, condition = KEYS[1] .. ':data', ARGV[6]
local done = redis.call('GET', P .. 'done:' .. ARGV[4])
if done then return {1, tonumber(done)} end
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return {-1, 0} end
local was = read(data, 'value', 'rev')
local rev = tonumber(was.rev) or 0
if status == 'destroyed' then return {-2, rev} end
if not holds(condition, was.value ~= '', rev) then return {-3, rev} end

redis.call('HSET', data, 'value', ARGV[5], 'rev', int(rev + 1))
redis.call('SET', P .. 'done:' .. ARGV[4], int(rev + 1), 'PX', '60000')
tell(ARGV[3], status, {'e', 'data-changed'})
return {1, rev + 1}
