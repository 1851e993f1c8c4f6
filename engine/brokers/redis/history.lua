-- A part of a room's past.

local READ_BYTES = 1048576  -- a reply ends after the record that reaches this

-- argv: 7 after, below zero: the beginning of the epoch, 8 limit, 9 events kept, 10 ms kept.
-- Reply: {epoch, head, time, first offset looked for, record...}
local function history(keys, argv)
  local room = enter(keys, argv)
  local limit, oldest = tonumber(argv[8]), room.time - tonumber(argv[10])
  local after = tonumber(argv[7])
  if after < 0 then
    after = tonumber(redis.call("HGET", room.key .. ":h", "begin"))
  end
  local from = math.max(after, room.offset - tonumber(argv[9])) + 1
  local reply = { text(room.epoch), text(room.offset), text(room.time), text(from) }
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
  return reply
end

redis.register_function("@LIBRARY@_history", history)
