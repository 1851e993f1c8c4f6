-- A room's tallies: who chose what, and how many chose each.
--
-- A change has a number, the version. What has changed is spread together, at most every so often: "y1 <epoch> <version up to which
-- it was spread before> <version> " and a MessagePack array of name, counts, name, counts ...

local LARGEST = 64 -- added to a choice that replaces a smaller one

-- Spread what has changed, if that was not done for so long. Returns the version that is spread, a text, and ms after which somebody should
-- see to the rest; 0: there is none.
local function spread_tallies(room, pause_ms)
  local h = redis.call("HMGET", room.key .. ":h", "cast", "tallied", "tallied_at")
  local version, tallied, at = tonumber(h[1] or 0), tonumber(h[2] or 0), tonumber(h[3] or 0)
  if version == tallied then
    return text(tallied), 0
  elseif room.now - at < pause_ms and room.now >= at then
    return text(tallied), at + pause_ms - room.now
  end
  local names, parts = redis.call("SMEMBERS", room.key .. ":g"), {}
  for start = 1, #names, SLICE do
    local stop = math.min(start + SLICE - 1, #names)
    local counts = redis.call("HMGET", room.key .. ":q", unpack(names, start, stop))
    for index = start, stop do
      parts[#parts + 1] = names[index]
      parts[#parts + 1] = counts[index - start + 1]
    end
  end
  redis.call("DEL", room.key .. ":g")
  redis.call("SPUBLISH", room.key .. ":c", "y1 " .. text(room.epoch) .. " " .. text(tallied) .. " " .. text(version) .. " "
    .. cmsgpack.pack(parts))
  redis.call("HSET", room.key .. ":h", "tallied", text(version), "tallied_at", text(room.now))
  return text(version), 0
end

-- Take the ballots of one tally: a byte of `marks` for each, and voters from argv[first] on. Adds "1" or "0" for each to `outcomes`.
-- Returns whether that changed anything.
local function take_ballots(room, name, marks, argv, first, outcomes)
  local key, counts, top, changed = room.key .. ":t:" .. name, {}, -1, false
  for count in string.gmatch(redis.call("HGET", room.key .. ":q", name) or "", "%d+") do
    top = top + 1
    counts[top] = tonumber(count)
  end
  for start = 1, #marks, SLICE do
    local stop = math.min(start + SLICE - 1, #marks)
    local known = redis.call("HMGET", key, unpack(argv, first + start - 1, first + stop - 1))
    local chosen, additions = {}, {}
    for index = start, stop do
      local voter, mark = argv[first + index - 1], string.byte(marks, index)
      local choice = mark % LARGEST
      local before = chosen[voter] or tonumber(known[index - start + 1])
      local counts_already = before == choice
      local taken = not before or (mark >= LARGEST and choice > before)
      if taken then
        if before then
          counts[before] = counts[before] - 1
        end
        while top < choice do
          top = top + 1
          counts[top] = 0
        end
        counts[choice] = counts[choice] + 1
        chosen[voter], changed = choice, true
        additions[#additions + 1] = voter
        additions[#additions + 1] = choice
      end
      outcomes[#outcomes + 1] = (taken or counts_already) and "1" or "0"
    end
    if #additions > 0 then
      redis.call("HSET", key, unpack(additions))
    end
  end
  if changed then
    local texts = {}
    for choice = 0, top do
      texts[choice + 1] = text(counts[choice])
    end
    redis.call("HSET", room.key .. ":q", name, table.concat(texts, " "))
    redis.call("SADD", room.key .. ":g", name)
  end
  return changed
end

-- argv: 7 ms between tallies that are spread, 0 if the caller will not report, 8 tallies that fit, 9 number of those that ballots are
-- for; for each of them name, a byte for each ballot: its choice, and 64 if it replaces a smaller one; then as many voters.
-- Reply: {epoch, head, ms after which the caller should report for the sake of others, or 0, a digit for each ballot: whether it
-- counts}; the last is empty, and nothing was done, if there are more tallies than fit.
local function cast(keys, argv)
  local room = enter(keys, argv)
  local tallies, count = room.key .. ":q", tonumber(argv[9])
  local at, fresh = 10, {}
  for _ = 1, count do
    if redis.call("HEXISTS", tallies, argv[at]) == 0 then
      fresh[#fresh + 1] = room.key .. ":t:" .. argv[at]
    end
    at = at + 2 + #argv[at + 1]
  end
  if #fresh > 0 and redis.call("HLEN", tallies) + #fresh > tonumber(argv[8]) then
    return { text(room.epoch), text(room.offset), "0", "" }
  end
  local outcomes, changed = {}, false
  at = 10
  for _ = 1, count do
    changed = take_ballots(room, argv[at], argv[at + 1], argv, at + 2, outcomes) or changed
    at = at + 2 + #argv[at + 1]
  end
  if changed then
    redis.call("HINCRBY", room.key .. ":h", "cast", "1")
    tend_tallies(room, fresh)
  end
  local _, due = spread_tallies(room, tonumber(argv[7]))
  return { text(room.epoch), text(room.offset), text(due), table.concat(outcomes) }
end

local function extended(reply, more)
  for _, each in ipairs(more) do
    reply[#reply + 1] = each
  end
  return reply
end

-- Reply: {epoch, head, time, version, name, counts, ...}
local function tallies(keys, argv)
  local room = enter(keys, argv)
  local version = redis.call("HGET", room.key .. ":h", "cast") or "0"
  return extended({ text(room.epoch), text(room.offset), text(room.time), version }, redis.call("HGETALL", room.key .. ":q"))
end

-- argv: 7 tally, 8 cursor, "0" to begin with, 9 voters wanted.
-- Reply: {epoch, head, number of all, cursor that goes on, "0" at the end, voter, choice, ...}; some may come again.
local function voters(keys, argv)
  local room = enter(keys, argv)
  local key = room.key .. ":t:" .. argv[7]
  local found = redis.call("HSCAN", key, argv[8], "COUNT", argv[9])
  return extended({ text(room.epoch), text(room.offset), text(redis.call("HLEN", key)), found[1] }, found[2])
end

-- argv: 7 tally. Reply: 1 if it was there.
local function discard(keys, argv)
  local room = enter(keys, argv)
  redis.call("DEL", room.key .. ":t:" .. argv[7])
  redis.call("SREM", room.key .. ":g", argv[7])
  return redis.call("HDEL", room.key .. ":q", argv[7])
end

redis.register_function("@LIBRARY@_cast", cast)
redis.register_function("@LIBRARY@_discard", discard)
redis.register_function("@LIBRARY@_tallies", tallies)
redis.register_function("@LIBRARY@_voters", voters)
