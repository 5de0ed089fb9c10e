-- The foot of every script. Calls that came as one say so in their first argument; then there is a key for each, and in front of the arguments
-- of each is their number. What goes wrong with one is the reply to that one alone: replies are lists of one, errors their text. Redis's pcall
-- makes a text of an error, which begins with its code if a command has raised it.
if ALL_ARGV[1] ~= 'each' then
  begin_call(ALL_KEYS, ALL_ARGV)
  return answer()
end
local replies, at = {}, 2
for i, key in ipairs(ALL_KEYS) do
  local last = at + tonumber(ALL_ARGV[at])
  begin_call({key}, {unpack(ALL_ARGV, at + 1, last)})
  at = last + 1
  local ok, reply = pcall(answer)
  if type(reply) == 'table' and reply.err then
    replies[i] = reply.err
  elseif ok then
    replies[i] = {reply}
  else
    reply = tostring(reply)
    replies[i] = string.find(reply, '^%u+ ') and reply or 'ERR ' .. reply
  end
end
return replies
