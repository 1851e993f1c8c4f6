#!lua name=@LIBRARY@
--
-- The Redis broker's half that runs inside the server. Each function is atomic and concerns one room. This is what they have in
-- common; each is in a file of its own, and all are loaded as one.
--
-- All keys of a room begin alike, up to the end of the room's hash tag; KEYS[1] is the first of them:
--
--   :h  hash    epoch, begin (offset before its first event), former (epoch before it), offset (head), time, expires, run,
--               kept_size, kept_last, kept_time, tokens, tokens_bytes, filled (of the budget),
--               likes, viewers, withheld, withheld_bytes, peak, unique, reactions (MessagePack: name -> sum), version (of these),
--               told, untold; cast (version of the tallies), tallied (the one that was spread), tallied_at, tended
--   :s  stream  one entry for each publish, id "<last offset>-<number of events>", field "r": the record
--   :d  zset    offsets that are redacted, each its own score
--   :k  zset    keys of recent events, scored by the offset they were given
--   :b  hash    publisher -> "<sequence> <time> <reply>" of its last publish; "<publisher>/r", of its last amendment or
--               redaction
--   :v  hash    subscription -> its viewers
--   :w  zset    subscription -> end of its lease
--   :n  hash    source of likes -> "<total> <subscription that told it last, nothing once it has ended>"
--   :o  zset    source of likes -> when it was told last
--   :e  hash    source of reactions -> MessagePack: name -> total
--   :u  hyperloglog of users who came
--   :q  hash    tally -> how many chose 0, 1, 2 ..., with blanks between
--   :g  set     tallies that have changed since they were spread
--   :t:<tally>  hash: voter -> choice
--   :r  hash    the room's record: revision, size, next (expiry), "=<field>" -> "<expiry or 0> <value>"
--   :c  shard channel: records of events, "a1 <epoch> <revision> <1: set, 0: deleted> <bytes of field> <field><value>",
--       "t2 <epoch> <version> <likes> <viewers> <withheld> <withheld_bytes> <peak> <unique> <reactions>",
--       "y1 <epoch> <version spread before> <version> <MessagePack: tally, counts, tally, counts ...>"
--
-- A record of events is "1 <epoch> <first> <count> <time> " and the events, each a MessagePack bin; or "2 ..." and the same as the
-- publisher has compressed it. It is stored and spread as one string. Without events it is only spread, and says where a new
-- epoch begins.
-- Numbers reach 2^53: never let Lua turn one into text by itself, it would round at 14 digits.

local PLAIN, PACKED = "1", "2" -- versions of a record
local TOTALS = { ":v", ":w", ":n", ":o", ":e", ":u" }
local TOLD = { ":n", ":o", ":e", ":u" }
local TALLIES = { ":g", ":q" }

local function text(number)
  return string.format("%.0f", number)
end

-- The server's own history: its replication id, and the one it continues as a promoted replica or from a snapshot.
local function reign()
  local info = redis.call("INFO", "replication")
  return string.match(info, "master_replid:(%x+)"), string.match(info, "master_replid2:(%x+)")
end

local function keep(key, ms)
  redis.call("PEXPIRE", key, text(ms))
end

local function suffixed(room, suffixes)
  local keys = {}
  for index, suffix in ipairs(suffixes) do
    keys[index] = room.key .. suffix
  end
  return keys
end

local function header(version, room, first, count)
  return version .. " " .. text(room.epoch) .. " " .. text(first) .. " " .. text(count) .. " " .. text(room.time) .. " "
end

-- Begin a new epoch. What the server still has of the room belongs to it and keeps its offsets; the epoch begins above.
local function renew(room, known_epoch, salt)
  local stream, keys = room.key .. ":s", room.key .. ":k"
  local former = room.epoch or 0
  room.epoch = math.max(room.now * 1000 + salt, (room.epoch or 0) + 1, known_epoch + 1)
  local last = room.offset > 0 and redis.call("XREVRANGE", stream, "+", "-", "COUNT", 1)[1]
  if not last or tonumber(string.match(last[1], "^%d+")) > room.offset then
    -- Nothing, or what does not fit the head.
    redis.call("DEL", stream)
    room.kept_size, room.kept_last, room.kept_time = 0, 0, 0
  end
  for _, offsets in ipairs({ keys, room.key .. ":d" }) do
    redis.call("ZREMRANGEBYSCORE", offsets, "(" .. text(room.offset), "+inf")
  end
  if room.offset == 0 then
    redis.call("DEL", room.key .. ":b")
  end
  redis.call("HSET", room.key .. ":h", "epoch", text(room.epoch), "offset", text(room.offset), "begin", text(room.offset),
    "former", text(former), "run", room.run,
    "kept_size", text(room.kept_size), "kept_last", text(room.kept_last), "kept_time", text(room.kept_time))
  redis.call("SPUBLISH", room.key .. ":c", header(PLAIN, room, room.offset + 1, 0))
end

local function tally_keys(room)
  local names = redis.call("HKEYS", room.key .. ":q")
  local keys = {}
  for index, name in ipairs(names) do
    keys[index] = room.key .. ":t:" .. name
  end
  return keys
end

-- Let keys live as long as the room. It is touched far more often than it is worth to say so to each of them: they outlive it by a
-- quarter, and are told again after as long.
local function tend(room, keys)
  for _, key in ipairs(keys) do
    keep(key, room.memory * 1.25)
  end
  if not room.tended then
    room.tended = room.now
    redis.call("HSET", room.key .. ":h", "tended", text(room.now))
  end
end

-- The last of them says which there are.
local function tend_tallies(room, keys)
  tend(room, keys)
  tend(room, suffixed(room, TALLIES))
end

local function drop_tallies(room)
  for _, key in ipairs(tally_keys(room)) do
    redis.call("UNLINK", key)
  end
  redis.call("DEL", unpack(suffixed(room, TALLIES)))
end

-- Every function begins here. argv: 1 time in ms or "" for the server's clock, 2 salt 0..999, 3 and 4 the caller's head
-- (epoch, offset), 5 "1" if a restart of this server loses nothing, 6 ms for which a room that nobody touches is remembered.
local function enter(keys, argv)
  local room = { key = string.sub(keys[1], 1, -3) }
  if argv[1] == "" then
    local clock = redis.call("TIME")
    room.now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
  else
    room.now = tonumber(argv[1])
  end
  local known_epoch, known_offset = tonumber(argv[3]), tonumber(argv[4])
  local memory = tonumber(argv[6])
  room.memory = memory
  local h = redis.call("HMGET", room.key .. ":h", "epoch", "offset", "time", "expires", "run",
    "kept_size", "kept_last", "kept_time", "tended")
  local run, before = reign()
  room.run = run
  if not h[1] or room.now > tonumber(h[4]) then
    -- Totals without the sums that they are part of would be worse than none.
    redis.call("DEL", room.key .. ":h", unpack(suffixed(room, TOTALS)))
    drop_tallies(room)
    h = {}
  end
  room.time = math.max(tonumber(h[3] or 0), room.now)
  room.epoch, room.offset = tonumber(h[1]), tonumber(h[2] or 0)
  room.kept_size, room.kept_last, room.kept_time = tonumber(h[6] or 0), tonumber(h[7] or 0), tonumber(h[8] or 0)
  local continued = h[5] == run
  if not continued and h[1] and h[5] ~= before and argv[5] == "1" then
    continued = true
    redis.call("HSET", room.key .. ":h", "run", run)
  end
  if not continued or known_epoch > room.epoch or (known_epoch == room.epoch and known_offset > room.offset) then
    renew(room, known_epoch, tonumber(argv[2]))
  end
  redis.call("HSET", room.key .. ":h", "expires", text(room.now + memory), "time", text(room.time))
  keep(room.key .. ":h", memory)
  room.tended = tonumber(h[9])
  if room.tended and (room.now < room.tended or room.now - room.tended >= memory / 4) then
    room.tended = nil
    tend(room, suffixed(room, TOLD))
    tend_tallies(room, tally_keys(room))
  end
  redis.call("PEXPIRE", room.key .. ":r", text(memory), "GT")
  return room
end
