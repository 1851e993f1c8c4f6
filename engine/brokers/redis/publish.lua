-- Publishing to a room: retries recognised, offsets given, one record kept and spread.

local FORGET_PUBLISHER_MS = 600000  -- no retry comes later than this
local PUBLISHERS = 64               -- remembered without a look at their age
local SLICE = 1000                  -- arguments in one call; Lua's stack holds about 8,000
local LIMITS = 6                    -- arguments that say what a room may hold

-- Of what a room may hold, from argv[at] on: keys remembered, events kept, bytes kept, ms kept, budget of events and of bytes per
-- second.
local function limits_of(argv, at)
  return { keys = tonumber(argv[at]), events = tonumber(argv[at + 1]), bytes = tonumber(argv[at + 2]),
    ms = tonumber(argv[at + 3]), rates = { tonumber(argv[at + 4]), tonumber(argv[at + 5]) } }
end

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

local function trim(room, limits)
  local stream, oldest = room.key .. ":s", room.time - limits.ms
  while room.kept_last > 0 and (room.offset - room.kept_last >= limits.events or room.kept_size > limits.bytes
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

-- Give offsets to `count` events: the first one's, to those that are no retry and fit the budget. `lanes` has a byte for each event
-- (see `pay`), or is empty; `sizes` a number; argv[first_key] on are keys, or nothing.
-- Returns how many got one, everybody's offset, who is `fresh`, keys and offsets to remember, what is left of the budget if it was
-- looked at.
local function give_offsets(room, count, limits, lanes, sizes, argv, first_key)
  local wanted = {}
  for index = first_key, #argv do
    if argv[index] ~= "" then
      wanted[#wanted + 1] = argv[index]
    end
  end
  local known = limits.keys > 0 and known_keys(room, wanted) or {}
  local purse = lanes ~= "" and open_purse(room, limits.rates)
  local next_size = sizes ~= "" and string.gmatch(sizes, "%d+")
  local accepted, offsets, fresh, additions, looked = 0, {}, {}, {}, false
  for index = 1, count do
    local key, size = argv[first_key + index - 1] or "", next_size and tonumber(next_size())
    local offset = key ~= "" and known[key]
    if not offset then
      offset, looked = purse and pay(purse, string.byte(lanes, index), size) or 0, purse
      if offset == 0 then
        accepted, fresh[index] = accepted + 1, true
        offset = room.offset + accepted
        if key ~= "" then
          known[key] = offset
          additions[#additions + 1] = text(offset)
          additions[#additions + 1] = key
        end
      end
    end
    offsets[index] = text(offset)
  end
  return accepted, offsets, fresh, additions, looked
end

local function remember_keys(room, additions, limits)
  if limits.keys > 0 and #additions > 0 then
    for start = 1, #additions, SLICE do
      redis.call("ZADD", room.key .. ":k", unpack(additions, start, math.min(start + SLICE - 1, #additions)))
    end
    redis.call("ZREMRANGEBYRANK", room.key .. ":k", 0, -limits.keys - 1)
    keep(room.key .. ":k", math.max(limits.ms, FORGET_PUBLISHER_MS))
  end
end

-- Keep a record of `count` events, and spread it.
local function append(room, version, count, body, limits)
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
  trim(room, limits)
  keep(stream, math.max(limits.ms, 1))
  redis.call("HSET", room.key .. ":h", "offset", text(room.offset), "kept_size", text(room.kept_size),
    "kept_last", text(room.kept_last), "kept_time", text(room.kept_time))
  redis.call("SPUBLISH", room.key .. ":c", record)
end

-- A single event that always fits, from argv[at] on: limits, body, whether it is compressed, size of the event, its key, "" for none.
local function event_of(argv, at)
  return { limits = limits_of(argv, at), body = argv[at + LIMITS], version = argv[at + LIMITS + 1] == "1" and PACKED or PLAIN,
    size = tonumber(argv[at + LIMITS + 2]), key = argv[at + LIMITS + 3] }
end

-- The offset that it was given before, or nil.
local function known_offset(room, event)
  return event.key ~= "" and event.limits.keys > 0 and known_keys(room, { event.key })[event.key] or nil
end

-- Publish it; returns its offset.
local function publish_one(room, event)
  local purse = open_purse(room, event.limits.rates)
  pay(purse, FREE, event.size)
  close_purse(room, purse)
  append(room, event.version, 1, event.body, event.limits)
  remember_keys(room, event.key ~= "" and { text(room.offset), event.key } or {}, event.limits)
  return room.offset
end

-- argv: 7 publisher, 8 its sequence, 9... limits, 15 number of events, 16 body, 17 whether it is compressed, 18 a byte for each
-- event: its lane and reserve, see `pay`; "" if there is no budget, 19 a number for each: its size; "" if there is none of bytes,
-- 20... a key for each event, "" for none; absent if none has one.
-- Reply: "<epoch> <first>" if the events got consecutive offsets, else "<epoch> <offset> <offset> ...", a negative one for one
-- withheld, see `pay`; "PLAIN" if nothing was done because the body must be taken apart and is compressed.
local function publish(keys, argv)
  local room = enter(keys, argv)
  local earlier, stale = earlier_reply(room, argv[7], argv[8])
  if earlier then
    return text(room.epoch) .. " " .. earlier
  elseif stale then
    return stale
  end
  local limits, count, body, reply = limits_of(argv, 9), tonumber(argv[15]), argv[16], text(room.offset + 1)
  local accepted, packed = count, argv[17] == "1"
  if argv[18] ~= "" or #argv > 19 then
    local offsets, fresh, additions, purse
    accepted, offsets, fresh, additions, purse = give_offsets(room, count, limits, argv[18], argv[19], argv, 20)
    if packed and accepted > 0 and accepted < count then
      return "PLAIN"
    elseif accepted < count then
      body, reply = accepted > 0 and chosen(body, fresh), table.concat(offsets, " ")
    end
    remember_keys(room, additions, limits)
    if purse then
      close_purse(room, purse)
    end
  end
  if accepted > 0 then
    append(room, packed and PACKED or PLAIN, accepted, body, limits)
  end
  remember_publish(room, argv[7], argv[8], reply, limits.ms)
  return text(room.epoch) .. " " .. reply
end

redis.register_function("@LIBRARY@_publish", publish)

-- argv: 7 key. Reply: the offset that it was given, or 0.
local function published(keys, argv)
  return text(known_keys(enter(keys, argv), { argv[7] })[argv[7]] or 0)
end

redis.register_function("@LIBRARY@_published", published)
