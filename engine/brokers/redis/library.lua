#!lua name=@LIBRARY@
--
-- The Redis broker's half that runs inside the server. Each function is atomic and concerns one room.
--
-- All keys of a room begin alike, up to the end of the room's hash tag; KEYS[1] is the first of them:
--
--   :h  hash    epoch, begin (offset before its first event), offset (head), time, expires, run, kept_size, kept_last, kept_time,
--               likes, viewers, version (of the totals), told, untold
--   :s  stream  one entry for each publish, id "<last offset>-<number of events>", field "r": the record
--   :k  zset    keys of recent events, scored by the offset they were given
--   :b  hash    publisher -> "<sequence> <time> <reply>" of its last publish
--   :m  hash    source -> "<likes> <viewers>"
--   :l  zset    source -> end of its lease; below zero: ended then
--   :c  shard channel: records, and "t1 <epoch> <version> <likes> <viewers>"
--
-- A record is "1 <epoch> <first> <count> <time> " and the events, each a MessagePack bin. It is stored and spread as one string.
-- Without events it is only spread, and says where a new epoch begins.
-- Numbers reach 2^53: never let Lua turn one into text by itself, it would round at 14 digits.

local FORGET_PUBLISHER_MS = 600000  -- no retry comes later than this
local PUBLISHERS = 64               -- remembered without a look at their age
local SOURCES = 1000                -- remembered after they have gone; the oldest merge into the sum for good
local READ_BYTES = 1048576          -- a reply to `history` ends after the record that reaches this
local SLICE = 1000                  -- arguments in one call; Lua's stack holds about 8,000

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

local function header(room, first, count)
  return "1 " .. text(room.epoch) .. " " .. text(first) .. " " .. text(count) .. " " .. text(room.time) .. " "
end

-- Begin a new epoch. What the server still has of the room belongs to it and keeps its offsets; the epoch begins above.
local function renew(room, known_epoch, salt)
  local stream, keys = room.key .. ":s", room.key .. ":k"
  room.epoch = math.max(room.now * 1000 + salt, (room.epoch or 0) + 1, known_epoch + 1)
  local last = room.offset > 0 and redis.call("XREVRANGE", stream, "+", "-", "COUNT", 1)[1]
  if not last or tonumber(string.match(last[1], "^%d+")) > room.offset then
    -- Nothing, or what does not fit the head.
    redis.call("DEL", stream)
    room.kept_size, room.kept_last, room.kept_time = 0, 0, 0
  end
  redis.call("ZREMRANGEBYSCORE", keys, "(" .. text(room.offset), "+inf")
  if room.offset == 0 then
    redis.call("DEL", room.key .. ":b")
  end
  redis.call("HSET", room.key .. ":h", "epoch", text(room.epoch), "offset", text(room.offset), "begin", text(room.offset),
    "run", room.run, "kept_size", text(room.kept_size), "kept_last", text(room.kept_last), "kept_time", text(room.kept_time))
  redis.call("SPUBLISH", room.key .. ":c", header(room, room.offset + 1, 0))
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
  local h = redis.call("HMGET", room.key .. ":h", "epoch", "offset", "time", "expires", "run",
    "kept_size", "kept_last", "kept_time")
  local run, before = reign()
  room.run = run
  if h[1] and room.now > tonumber(h[4]) then
    redis.call("DEL", room.key .. ":h", room.key .. ":m", room.key .. ":l")
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
  redis.call("HSET", room.key .. ":h", "expires", text(room.now + memory))
  keep(room.key .. ":h", memory)
  redis.call("PEXPIRE", room.key .. ":m", text(memory))
  redis.call("PEXPIRE", room.key .. ":l", text(memory))
  return room
end

-- -- publish -----------------------------------------------------------------------------------------------------------

-- Offsets of keys published before, as a table from key to offset.
local function known_keys(room, wanted)
  local known = {}
  for start = 1, #wanted, SLICE do
    local stop = math.min(start + SLICE - 1, #wanted)
    local scores = redis.call("ZMSCORE", room.key .. ":k", unpack(wanted, start, stop))
    for index = start, stop do
      local score = scores[index - start + 1]
      if score then
        known[wanted[index]] = tonumber(score)
      end
    end
  end
  return known
end

-- The events of a body at which `wanted` is true. MessagePack bin 8, 16, 32: 0xc4, 0xc5, 0xc6 and a big-endian length.
local function chosen(body, wanted)
  local parts, at, index = {}, 1, 1
  while at <= #body do
    local kind = string.byte(body, at)
    local width = kind == 0xc4 and 1 or kind == 0xc5 and 2 or 4
    local length = 0
    for place = 1, width do
      length = length * 256 + string.byte(body, at + place)
    end
    local stop = at + width + length
    if wanted[index] then
      parts[#parts + 1] = string.sub(body, at, stop)
    end
    at, index = stop + 1, index + 1
  end
  return table.concat(parts)
end

local function remember_publish(room, publisher, sequence, reply, memory)
  local key = room.key .. ":b"
  local value = sequence .. " " .. text(room.now) .. " " .. reply
  if redis.call("HSET", key, publisher, value) == 1 and redis.call("HLEN", key) > PUBLISHERS then
    local all = redis.call("HGETALL", key)
    for index = 1, #all, 2 do
      local time = tonumber(string.match(all[index + 1], "^%d+ (%d+)"))
      if room.now - time > FORGET_PUBLISHER_MS then
        redis.call("HDEL", key, all[index])
      end
    end
  end
  keep(key, math.max(memory, FORGET_PUBLISHER_MS))
end

local function trim(room, events_max, bytes_max, oldest)
  local stream = room.key .. ":s"
  while room.kept_last > 0 and (room.offset - room.kept_last >= events_max or room.kept_size > bytes_max
      or room.kept_time < oldest) do
    local entries = redis.call("XRANGE", stream, text(room.kept_last), "+", "COUNT", 2)
    if entries[1] then
      room.kept_size = room.kept_size - #entries[1][2][2]
      redis.call("XTRIM", stream, "MINID", text(room.kept_last + 1))
    end
    if entries[2] then
      local record = entries[2][2][2]
      room.kept_last = tonumber(string.match(entries[2][1], "^%d+"))
      room.kept_time = tonumber(string.match(record, "^1 %d+ %d+ %d+ (%d+) "))
    else
      room.kept_size, room.kept_last, room.kept_time = 0, 0, 0
    end
  end
end

-- argv: 7 publisher, 8 its sequence, 9 keys remembered, 10 events kept, 11 bytes kept, 12 ms kept, 13 number of events,
-- 14 body, 15... a key for each event, "" for none; absent if none has one.
-- Reply: "<epoch> <first>" if the events got consecutive offsets, else "<epoch> <offset> <offset> ...".
local function publish(keys, argv)
  local room = enter(keys, argv)
  local publisher, sequence = argv[7], argv[8]
  local last = redis.call("HGET", room.key .. ":b", publisher)
  if last then
    local at, reply = string.match(last, "^(%d+) %d+ (.*)$")
    if at == sequence then
      return text(room.epoch) .. " " .. reply
    elseif tonumber(sequence) < tonumber(at) then
      return redis.error_reply("STALE a later publish has been applied")
    end
  end
  local keys_max, events_max, bytes_max = tonumber(argv[9]), tonumber(argv[10]), tonumber(argv[11])
  local history_ms, count, body = tonumber(argv[12]), tonumber(argv[13]), argv[14]
  local accepted, reply = count, nil
  local first = room.offset + 1
  if #argv > 14 then
    local wanted = {}
    for index = 1, count do
      if argv[14 + index] ~= "" then
        wanted[#wanted + 1] = argv[14 + index]
      end
    end
    local known = keys_max > 0 and known_keys(room, wanted) or {}
    local fresh, offsets, additions = {}, {}, {}
    accepted = 0
    for index = 1, count do
      local key = argv[14 + index]
      local offset = key ~= "" and known[key]
      if not offset then
        offset = first + accepted
        accepted = accepted + 1
        fresh[index] = true
        if key ~= "" then
          known[key] = offset
          additions[#additions + 1] = text(offset)
          additions[#additions + 1] = key
        end
      end
      offsets[index] = text(offset)
    end
    if accepted < count then
      body = chosen(body, fresh)
      reply = table.concat(offsets, " ")
    end
    if keys_max > 0 and #additions > 0 then
      for start = 1, #additions, SLICE do
        redis.call("ZADD", room.key .. ":k", unpack(additions, start, math.min(start + SLICE - 1, #additions)))
      end
      redis.call("ZREMRANGEBYRANK", room.key .. ":k", 0, -keys_max - 1)
      keep(room.key .. ":k", math.max(history_ms, FORGET_PUBLISHER_MS))
    end
  end
  if accepted > 0 then
    local record = header(room, first, accepted) .. body
    local stream = room.key .. ":s"
    room.offset = room.offset + accepted
    if room.kept_last > 0 and redis.call("EXISTS", stream) == 0 then
      room.kept_size, room.kept_last, room.kept_time = 0, 0, 0
    end
    redis.call("XADD", stream, text(room.offset) .. "-" .. text(accepted), "r", record)
    room.kept_size = room.kept_size + #record
    if room.kept_last == 0 then
      room.kept_last, room.kept_time = room.offset, room.time
    end
    trim(room, events_max, bytes_max, room.time - history_ms)
    keep(stream, math.max(history_ms, 1))
    redis.call("HSET", room.key .. ":h", "offset", text(room.offset), "time", text(room.time),
      "kept_size", text(room.kept_size), "kept_last", text(room.kept_last), "kept_time", text(room.kept_time))
    redis.call("SPUBLISH", room.key .. ":c", record)
  end
  reply = reply or text(first)
  remember_publish(room, publisher, sequence, reply, history_ms)
  return text(room.epoch) .. " " .. reply
end

-- -- history -----------------------------------------------------------------------------------------------------------

-- argv: 7 after, below zero: the beginning of the epoch, 8 limit, 9 events kept, 10 ms kept. Reply: {epoch, head, first offset looked for, record...}
local function history(keys, argv)
  local room = enter(keys, argv)
  local limit, oldest = tonumber(argv[8]), room.time - tonumber(argv[10])
  local after = tonumber(argv[7])
  if after < 0 then
    after = tonumber(redis.call("HGET", room.key .. ":h", "begin"))
  end
  local from = math.max(after, room.offset - tonumber(argv[9])) + 1
  local reply = { text(room.epoch), text(room.offset), text(from) }
  local at, found, size = from, 0, 0
  while at <= room.offset and found < limit and size < READ_BYTES do
    local entries = redis.call("XRANGE", room.key .. ":s", text(at), "+", "COUNT", 16)
    if #entries == 0 then
      break
    end
    for _, entry in ipairs(entries) do
      local record = entry[2][2]
      local first, count, time = string.match(record, "^1 %d+ (%d+) (%d+) (%d+) ")
      at = tonumber(first) + tonumber(count)
      if tonumber(time) >= oldest and found < limit and size < READ_BYTES then
        reply[#reply + 1] = record
        found = found + at - math.max(from, tonumber(first))
        size = size + #record
      end
    end
  end
  return reply
end

-- -- totals ------------------------------------------------------------------------------------------------------------

-- argv: 7 source, 8 its likes, 9 its viewers, 10 ms of its lease, 0 when it leaves, 11 ms between totals that are spread.
-- Reply: {epoch, head, version, likes, viewers, ms after which the caller should report again for the sake of others, or 0}
local function report(keys, argv)
  local room = enter(keys, argv)
  local members, leases = room.key .. ":m", room.key .. ":l"
  local h = redis.call("HMGET", room.key .. ":h", "likes", "viewers", "version", "told", "untold")
  local likes, viewers, version = tonumber(h[1] or 0), tonumber(h[2] or 0), tonumber(h[3] or 0)
  local told, untold = tonumber(h[4] or 0), h[5] == "1"
  local likes_before, viewers_before = likes, viewers

  local source, lease = argv[7], tonumber(argv[10])
  local own_likes, own_viewers = 0, 0
  local entry = redis.call("HGET", members, source)
  if entry then
    own_likes, own_viewers = string.match(entry, "^(%d+) (%d+)$")
    own_likes, own_viewers = tonumber(own_likes), tonumber(own_viewers)
  end
  -- Cumulative: a late, older report changes nothing.
  local now_likes, now_viewers = math.max(own_likes, tonumber(argv[8])), lease > 0 and tonumber(argv[9]) or 0
  likes, viewers = likes + now_likes - own_likes, viewers + now_viewers - own_viewers
  redis.call("HSET", members, source, text(now_likes) .. " " .. text(now_viewers))
  redis.call("ZADD", leases, text(lease > 0 and room.now + lease or -room.now), source)

  for _, gone in ipairs(redis.call("ZRANGEBYSCORE", leases, "0", text(room.now), "LIMIT", "0", "100")) do
    local their_likes, their_viewers = string.match(redis.call("HGET", members, gone) or "0 0", "^(%d+) (%d+)$")
    viewers = viewers - tonumber(their_viewers)
    redis.call("HSET", members, gone, their_likes .. " 0")
    redis.call("ZADD", leases, text(-room.now), gone)
  end
  if redis.call("ZCARD", leases) > SOURCES then
    for _, oldest in ipairs(redis.call("ZREVRANGEBYSCORE", leases, "(0", "-inf", "LIMIT", "0", "100")) do
      redis.call("HDEL", members, oldest)
      redis.call("ZREM", leases, oldest)
    end
  end

  local due = 0
  if likes ~= likes_before or viewers ~= viewers_before then
    version = version + 1
    due = told + tonumber(argv[11]) - room.now
    if untold then due = 0 end
    untold = true
  end
  -- Who leaves will not report again.
  if untold and (room.now - told >= tonumber(argv[11]) or room.now < told or lease == 0) then
    redis.call("SPUBLISH", room.key .. ":c", "t1 " .. text(room.epoch) .. " " .. text(version) .. " " .. text(likes) .. " "
      .. text(viewers))
    told, untold, due = room.now, false, 0
  end
  local memory = tonumber(argv[6])
  redis.call("HSET", room.key .. ":h", "likes", text(likes), "viewers", text(viewers), "version", text(version),
    "told", text(told), "untold", untold and "1" or "0")
  keep(members, memory)
  keep(leases, memory)
  return { text(room.epoch), text(room.offset), text(version), text(likes), text(viewers), text(math.max(due, 0)) }
end

redis.register_function("@LIBRARY@_publish", publish)
redis.register_function("@LIBRARY@_history", history)
redis.register_function("@LIBRARY@_report", report)
