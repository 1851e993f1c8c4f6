-- A part of a room's past.

local READ_BYTES = 1048576  -- a reply ends after the record that reaches this

-- argv: 7 after, below zero: the beginning of the epoch, 8 limit, 9 events kept, 10 ms kept.
-- Reply: {epoch, head, time, revision of the record, first offset looked for, offsets in it that are redacted, record...}
local function history(keys, argv)
  local room = enter(keys, argv)
  local limit, oldest = tonumber(argv[8]), room.time - tonumber(argv[10])
  local after = tonumber(argv[7])
  if after < 0 then
    after = tonumber(redis.call("HGET", room.key .. ":h", "begin"))
  end
  local from = math.max(after, room.offset - tonumber(argv[9])) + 1
  local revision = redis.call("HGET", room.key .. ":r", "revision") or "0"
  local reply = { text(room.epoch), text(room.offset), text(room.time), revision, text(from), "" }
  local at, found, size = from, 0, 0
  while at <= room.offset and found < limit and size < READ_BYTES do
    local entries = redis.call("XRANGE", room.key .. ":s", text(at), "+", "COUNT", 16)
    if #entries == 0 then
      break
    end
    for _, entry in ipairs(entries) do
      local record = entry[2][2]
      local first, count, time = string.match(record, "^%d+ %d+ (%d+) (%d+) (%d+) ")
      at = tonumber(first) + tonumber(count)
      if tonumber(time) >= oldest and found < limit and size < READ_BYTES then
        reply[#reply + 1] = record
        found = found + at - math.max(from, tonumber(first))
        size = size + #record
      end
    end
  end
  reply[6] = table.concat(redis.call("ZRANGEBYSCORE", room.key .. ":d", text(from), text(at - 1)), " ")
  return reply
end

-- The last offset that means the same to a caller who knew of that epoch, or of none.
local function common(room, known_epoch)
  local h = redis.call("HMGET", room.key .. ":h", "former", "begin")
  if known_epoch == 0 or known_epoch == room.epoch then
    return room.offset
  end
  return known_epoch == tonumber(h[1]) and tonumber(h[2]) or 0
end

-- Let what is kept at these offsets be redacted. A record is one string, perhaps compressed: it stays, and its readers are told.
local function hide(room, offsets, last, memory)
  local redacted, oldest = room.key .. ":d", redis.call("XRANGE", room.key .. ":s", "-", "+", "COUNT", 1)[1]
  if not oldest then
    return
  end
  local oldest_last, count = string.match(oldest[1], "^(%d+)-(%d+)$")
  local first, additions = tonumber(oldest_last) - tonumber(count) + 1, {}
  redis.call("ZREMRANGEBYSCORE", redacted, "-inf", "(" .. text(first))
  for offset in string.gmatch(offsets, "%d+") do
    if tonumber(offset) >= first and tonumber(offset) <= last then
      additions[#additions + 1] = offset
      additions[#additions + 1] = offset
    end
  end
  for start = 1, #additions, SLICE do
    redis.call("ZADD", redacted, unpack(additions, start, math.min(start + SLICE - 1, #additions)))
  end
  -- What is kept now is not kept for longer.
  keep(redacted, memory)
end

-- argv: 7 publisher, 8 its sequence, 9 offsets, 10... an event, see `event_of`.
-- Reply: "<epoch> <offset of the event>"
local function redact(keys, argv)
  local room = enter(keys, argv)
  local earlier, stale = earlier_reply(room, argv[7], argv[8])
  if earlier then
    return text(room.epoch) .. " " .. earlier
  elseif stale then
    return stale
  end
  local event, memory = event_of(argv, 10), tonumber(argv[6])
  local offset = known_offset(room, event)
  if not offset then
    hide(room, argv[9], common(room, tonumber(argv[3])), memory)
    offset = publish_one(room, event)
  end
  remember_publish(room, argv[7], argv[8], text(offset), memory)
  return text(room.epoch) .. " " .. text(offset)
end

redis.register_function("@LIBRARY@_redact", redact)
redis.register_function("@LIBRARY@_history", history)
