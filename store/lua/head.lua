-- The head of every script; what only some need is in other files. KEYS[1] is always a key of the namespace; all keys that a script derives
-- start with its prefix and so share its hash tag (docs/adr/0002). ARGV[1] is the time in ms since the epoch, 0 = the server's own, how many
-- events the namespace keeps, and the word that this run gives to those who are owed an update; ARGV[2] is the visibility in ms: how long an
-- enqueued or claimed object stays out of the sweeper's sight.
local P = string.match(KEYS[1], '^drydock:{[^}]*}:')
local NOW, EVENTS_KEPT, WORD = string.match(ARGV[1], '^(%d+) (%d+) (%w+)$')
NOW = tonumber(NOW)
if NOW == 0 then
  local t = redis.call('TIME')
  NOW = t[1] * 1000 + math.floor(t[2] / 1000)
end
local VISIBLE_AT = NOW + tonumber(ARGV[2])
