-- What a run that begins is shown of an object's queue.

-- waiting_commands lists the first commands of an object's queue: id, record, id, record and so on.
local function waiting_commands(key, most)
  local commands, cids = {}, redis.call('LRANGE', key .. ':commands', '0', most - 1)
  if not cids[1] then return commands end
  local records = redis.call('HMGET', key .. ':records', unpack(cids))
  for i, cid in ipairs(cids) do
    commands[#commands + 1] = cid
    commands[#commands + 1] = records[i]
  end
  return commands
end
