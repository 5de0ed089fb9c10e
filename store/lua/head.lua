-- The head of every script; what only some need is in other files. KEYS[1] is always a key of the namespace; all keys that a script derives
-- start with its prefix and so share its hash tag (docs/adr/0002). ARGV[1] is the time in ms since the epoch, 0 = the server's own, how many
-- events the namespace keeps, and the word that this call gives to those who are owed an update; ARGV[2] is the visibility in ms: how long an
-- enqueued or claimed object stays out of the sweeper's sight.
-- What the script does is a function, `answer`, and foot.lua calls it: once, or for each of several calls that came as one (store/merge.go).
-- All that belongs to one call alone is therefore set here.
local ALL_KEYS, ALL_ARGV = KEYS, ARGV
-- NOW_MS is NOW as Redis reads it, and so is VISIBLE_AT: to write numbers down takes time, and these are used often. For the same reason
-- constants that Redis is told are strings.
local KEYS, ARGV, P, NOW, NOW_MS, EVENTS_KEPT, WORD, VISIBLE_AT
-- Objects that owe has woken and that had not been before.
local woken
-- What the script has done that its caller cannot know: commands pushed, by kind of object, and commands consumed unread.
local tally

-- For scripts that write nothing: what has been read for one of several calls that came as one, and need not be read again for the others.
local seen = {}

local function int(n) return string.format('%.0f', n) end

-- The server's time stands still as long as a script runs.
local server_ms
local function begin_call(keys, argv)
  KEYS, ARGV = keys, argv
  P = string.match(KEYS[1], '^drydock:{[^}]*}:')
  NOW_MS, EVENTS_KEPT, WORD = string.match(ARGV[1], '^(%d+) (%d+) (%w+)$')
  if NOW_MS == '0' then
    if not server_ms then
      local t = redis.call('TIME')
      server_ms = int(t[1] * 1000 + math.floor(t[2] / 1000))
    end
    NOW_MS = server_ms
  end
  NOW = tonumber(NOW_MS)
  VISIBLE_AT = int(NOW + tonumber(ARGV[2]))
  woken, tally = {}, {lease = 0, resource = 0, unread = 0}
end
