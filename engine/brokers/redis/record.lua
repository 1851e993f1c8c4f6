-- A room's record: named fields, each change of which has a number and is spread.

local META = 3 -- entries of the hash that are no fields

local function load_record(room)
  local r = redis.call("HMGET", room.key .. ":r", "revision", "size", "next")
  return { key = room.key .. ":r", revision = tonumber(r[1] or 0), size = tonumber(r[2] or 0), next = tonumber(r[3] or 0) }
end

local function spread_amendment(room, record, field, value)
  redis.call("SPUBLISH", room.key .. ":c", "a1 " .. text(room.epoch) .. " " .. text(record.revision) .. " "
    .. (value and "1" or "0") .. " " .. #field .. " " .. field .. (value or ""))
end

local function save_record(record)
  redis.call("HSET", record.key, "revision", text(record.revision), "size", text(record.size), "next", text(record.next))
end

-- Expiry and value of a field, or nil.
local function read_field(entry)
  local expires, value = string.match(entry, "^(%d+) (.*)$")
  return tonumber(expires), value
end

-- Delete the fields whose time has come, the earliest first.
local function expire_fields(room, record)
  if record.next == 0 or room.time < record.next then
    return
  end
  local all, gone = redis.call("HGETALL", record.key), {}
  record.next = 0
  for index = 1, #all, 2 do
    if string.sub(all[index], 1, 1) == "=" then
      local expires, value = read_field(all[index + 1])
      if expires > 0 and expires <= room.time then
        gone[#gone + 1] = { expires, string.sub(all[index], 2), #value }
      elseif expires > 0 and (record.next == 0 or expires < record.next) then
        record.next = expires
      end
    end
  end
  table.sort(gone, function(one, two)
    return one[1] < two[1] or (one[1] == two[1] and one[2] < two[2])
  end)
  for _, each in ipairs(gone) do
    redis.call("HDEL", record.key, "=" .. each[2])
    record.revision, record.size = record.revision + 1, record.size - #each[2] - each[3]
    spread_amendment(room, record, each[2], nil)
  end
  save_record(record)
end

-- Returns "ok <revision>", "conflict <revision>" or "full <setting>", and whether that was a change.
local function change_field(room, record, field, value, expires_ms, expect, fields_max, bytes_max)
  if expect ~= "" and tonumber(expect) ~= record.revision then
    return "conflict " .. text(record.revision)
  end
  local old = redis.call("HGET", record.key, "=" .. field)
  local size = record.size
  if old then
    local _, old_value = read_field(old)
    size = size - #field - #old_value
  end
  if value then
    size = size + #field + #value
    if not old and math.max(redis.call("HLEN", record.key) - META, 0) >= fields_max then
      return "full record_fields"
    elseif size > bytes_max then
      return "full record_bytes"
    end
    local expires = expires_ms > 0 and room.time + expires_ms or 0
    redis.call("HSET", record.key, "=" .. field, text(expires) .. " " .. value)
    if expires > 0 and (record.next == 0 or expires < record.next) then
      record.next = expires
    end
  elseif old then
    redis.call("HDEL", record.key, "=" .. field)
  else
    return "ok " .. text(record.revision)
  end
  record.revision, record.size = record.revision + 1, size
  save_record(record)
  spread_amendment(room, record, field, value)
  return "ok " .. text(record.revision), true
end

-- argv: 7 publisher, 8 its sequence, 9 field, 10 "1" to set it, "0" to delete it, 11 value, 12 ms after which it expires, 0: never,
-- 13 revision that is expected, "" for any, 14 fields that fit, 15 bytes of names and values that fit, 16... an event that is
-- published if there is a change, see `event_of`; absent if there is none.
local function amend(keys, argv)
  local room = enter(keys, argv)
  local earlier, stale = earlier_reply(room, argv[7], argv[8])
  if earlier or stale then
    return earlier or stale
  end
  local memory, expires_ms = tonumber(argv[6]), tonumber(argv[12])
  local value, event = argv[10] == "1" and argv[11], argv[16] and event_of(argv, 16)
  local found = load_record(room)
  expire_fields(room, found)
  local reply, changed = "ok " .. text(found.revision), false
  if not (event and known_offset(room, event)) then
    reply, changed = change_field(room, found, argv[9], value, expires_ms, argv[13], tonumber(argv[14]), tonumber(argv[15]))
  end
  -- As long as the room is remembered, longer for what expires later.
  if redis.call("PTTL", room.key .. ":r") == -1 then
    keep(room.key .. ":r", memory)
  end
  redis.call("PEXPIRE", room.key .. ":r", text(math.max(memory, changed and expires_ms or 0)), "GT")
  if event and changed then
    publish_one(room, event)
  end
  remember_publish(room, argv[7], argv[8], reply, memory)
  return reply
end

-- Reply: {epoch, head, time, revision, field, value, ...}
local function record(keys, argv)
  local room = enter(keys, argv)
  local found = load_record(room)
  expire_fields(room, found)
  local reply = { text(room.epoch), text(room.offset), text(room.time), text(found.revision) }
  local all = redis.call("HGETALL", found.key)
  for index = 1, #all, 2 do
    if string.sub(all[index], 1, 1) == "=" then
      local _, value = read_field(all[index + 1])
      reply[#reply + 1] = string.sub(all[index], 2)
      reply[#reply + 1] = value
    end
  end
  return reply
end

redis.register_function("@LIBRARY@_amend", amend)
redis.register_function("@LIBRARY@_record", record)
