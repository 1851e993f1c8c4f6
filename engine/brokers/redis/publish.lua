-- Publishing to a room: retries recognised, offsets given, one record kept and spread.

local FORGET_PUBLISHER_MS = 600000  -- no retry comes later than this
local PUBLISHERS = 64               -- remembered without a look at their age
local LIMITED = 49                  -- the digit 1: lane of an event that is subject to the budget
local ENOUGH = 1 - 1e-4             -- tokens that such an event needs: rounding must not refuse the last of a burst
local SLICE = 1000                  -- arguments in one call; Lua's stack holds about 8,000

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

-- What was answered to a publisher's last request, if this is it again; an error if this one comes too late.
local function earlier_reply(room, publisher, sequence)
  local last = redis.call("HGET", room.key .. ":b", publisher)
  if not last then
    return nil
  end
  local at, reply = string.match(last, "^(%d+) %d+ (.*)$")
  if at == sequence then
    return reply
  elseif tonumber(sequence) < tonumber(at) then
    return nil, redis.error_reply("STALE a later publish has been applied")
  end
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
      room.kept_time = tonumber(string.match(record, "^%d+ %d+ %d+ %d+ (%d+) "))
    else
      room.kept_size, room.kept_last, room.kept_time = 0, 0, 0
    end
  end
end

-- What the room has left of its budget; the same arithmetic as in budget.py.
local function tokens_left(room, per_second, burst)
  local h = redis.call("HMGET", room.key .. ":h", "tokens", "filled")
  local more = math.max(room.now - tonumber(h[2] or 0), 0) * per_second / 1000
  return math.min(burst, tonumber(h[1] or burst) + more)
end

-- Give offsets to `count` events: the first one's, to those that are no retry and fit the budget. `lanes` has a digit for each
-- event, or is empty; argv[first_key] on are keys, or nothing.
-- Returns how many got one, everybody's offset, who is `fresh`, keys and offsets to remember, how many were withheld, tokens left.
local function give_offsets(room, count, keys_max, per_second, burst, lanes, argv, first_key)
  local wanted = {}
  for index = first_key, #argv do
    if argv[index] ~= "" then
      wanted[#wanted + 1] = argv[index]
    end
  end
  local known = keys_max > 0 and known_keys(room, wanted) or {}
  local tokens = lanes ~= "" and tokens_left(room, per_second, burst)
  local accepted, offsets, fresh, additions, withheld = 0, {}, {}, {}, 0
  for index = 1, count do
    local key = argv[first_key + index - 1] or ""
    local offset = key ~= "" and known[key]
    local limited = tokens and string.byte(lanes, index) == LIMITED
    if not offset and limited and tokens < ENOUGH then
      offset, withheld = 0, withheld + 1
    elseif not offset then
      offset = room.offset + accepted + 1
      accepted, fresh[index] = accepted + 1, true
      tokens = limited and tokens - 1 or tokens
      if key ~= "" then
        known[key] = offset
        additions[#additions + 1] = text(offset)
        additions[#additions + 1] = key
      end
    end
    offsets[index] = text(offset)
  end
  return accepted, offsets, fresh, additions, withheld, tokens
end

local function remember_keys(room, additions, keys_max, history_ms)
  if keys_max > 0 and #additions > 0 then
    for start = 1, #additions, SLICE do
      redis.call("ZADD", room.key .. ":k", unpack(additions, start, math.min(start + SLICE - 1, #additions)))
    end
    redis.call("ZREMRANGEBYRANK", room.key .. ":k", 0, -keys_max - 1)
    keep(room.key .. ":k", math.max(history_ms, FORGET_PUBLISHER_MS))
  end
end

-- Count what did not fit. The totals have changed; whoever published tells the others.
local function withhold(room, withheld, tokens)
  redis.call("HSET", room.key .. ":h", "tokens", string.format("%.17g", tokens), "filled", text(room.now))
  if withheld > 0 then
    redis.call("HINCRBY", room.key .. ":h", "withheld", text(withheld))
    redis.call("HINCRBY", room.key .. ":h", "version", "1")
    redis.call("HSET", room.key .. ":h", "untold", "1")
  end
end

-- Keep a record of `count` events, and spread it.
local function append(room, version, count, body, events_max, bytes_max, history_ms)
  local record = header(version, room, room.offset + 1, count) .. body
  local stream = room.key .. ":s"
  room.offset = room.offset + count
  if room.kept_last > 0 and redis.call("EXISTS", stream) == 0 then
    room.kept_size, room.kept_last, room.kept_time = 0, 0, 0
  end
  redis.call("XADD", stream, text(room.offset) .. "-" .. text(count), "r", record)
  room.kept_size = room.kept_size + #record
  if room.kept_last == 0 then
    room.kept_last, room.kept_time = room.offset, room.time
  end
  trim(room, events_max, bytes_max, room.time - history_ms)
  keep(stream, math.max(history_ms, 1))
  redis.call("HSET", room.key .. ":h", "offset", text(room.offset), "kept_size", text(room.kept_size),
    "kept_last", text(room.kept_last), "kept_time", text(room.kept_time))
  redis.call("SPUBLISH", room.key .. ":c", record)
end

-- argv: 7 publisher, 8 its sequence, 9 keys remembered, 10 events kept, 11 bytes kept, 12 ms kept, 13 budget per second,
-- 14 burst, 15 number of events, 16 body, 17 whether it is compressed, 18 a digit for each event: 1 if it is subject to the
-- budget; "" if none is, 19... a key for each event, "" for none; absent if none has one.
-- Reply: "<epoch> <first>" if the events got consecutive offsets, else "<epoch> <offset> <offset> ...", 0 for one withheld;
-- "PLAIN" if nothing was done because the body must be taken apart and is compressed.
local function publish(keys, argv)
  local room = enter(keys, argv)
  local earlier, stale = earlier_reply(room, argv[7], argv[8])
  if earlier then
    return text(room.epoch) .. " " .. earlier
  elseif stale then
    return stale
  end
  local keys_max, history_ms = tonumber(argv[9]), tonumber(argv[12])
  local count, body, reply = tonumber(argv[15]), argv[16], text(room.offset + 1)
  local accepted, packed = count, argv[17] == "1"
  if argv[18] ~= "" or #argv > 18 then
    local offsets, fresh, additions, withheld, tokens
    accepted, offsets, fresh, additions, withheld, tokens =
      give_offsets(room, count, keys_max, tonumber(argv[13]), tonumber(argv[14]), argv[18], argv, 19)
    if packed and accepted > 0 and accepted < count then
      return "PLAIN"
    elseif accepted < count then
      body, reply = accepted > 0 and chosen(body, fresh), table.concat(offsets, " ")
    end
    remember_keys(room, additions, keys_max, history_ms)
    if tokens then
      withhold(room, withheld, tokens)
    end
  end
  if accepted > 0 then
    append(room, packed and PACKED or PLAIN, accepted, body, tonumber(argv[10]), tonumber(argv[11]), history_ms)
  end
  remember_publish(room, argv[7], argv[8], reply, history_ms)
  return text(room.epoch) .. " " .. reply
end

redis.register_function("@LIBRARY@_publish", publish)
