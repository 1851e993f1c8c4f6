-- A room's totals: viewers by subscription, under a lease; likes and reactions by source; who came.

local SOURCES = 1000                -- of likes, remembered after they have ended; the oldest merge into the sum for good
local NAMES = 64                    -- of reactions in a room; others are ignored
local SLICE_GONE = 100              -- forgotten in one call
local PRESENT = { ":v", ":w" }

local function unpacked(map)
  return map and map ~= "" and cmsgpack.unpack(map) or {}
end

local function packed(map)
  return next(map) and cmsgpack.pack(map) or ""
end

-- Reactions told of a source: `count` of them from argv[first] on, name and total each. Adds to the sums. Returns whether there was
-- one more.
local function count_reactions(room, sums, source, argv, first, count)
  if count == 0 then
    return false
  end
  local known, more = unpacked(redis.call("HGET", room.key .. ":e", source)), false
  for index = first, first + 2 * count - 1, 2 do
    local name, total = argv[index], tonumber(argv[index + 1])
    local added = total - (known[name] or 0)
    if added > 0 and (sums.of[name] or sums.names < NAMES) then
      sums.names = sums.of[name] and sums.names or sums.names + 1
      sums.of[name] = (sums.of[name] or 0) + added
      known[name], more = total, true
    end
  end
  if more then
    redis.call("HSET", room.key .. ":e", source, cmsgpack.pack(known))
  end
  return more
end

-- Sources told by a subscription: `count` of them from argv[first] on, each with name, likes, number of reactions, name and total of
-- each of these; then names of those that have ended. Adds reactions to `sums`.
-- Returns by how much the likes have grown, whether there was one more reaction, and whether there is a source that was not there
-- before.
local function count_sources(room, subscription, sums, argv, first, count)
  local sources, order = room.key .. ":n", room.key .. ":o"
  local added, more, fresh, at = 0, false, false, first
  for _ = 1, count do
    local source, total, reactions = argv[at], tonumber(argv[at + 1]), tonumber(argv[at + 2])
    local entry = redis.call("HGET", sources, source)
    local known = entry and tonumber(string.match(entry, "^%d+")) or 0
    fresh = fresh or not entry
    if total >= known then
      added = added + total - known
      redis.call("HSET", sources, source, text(total) .. " " .. subscription)
      redis.call("ZADD", order, text(room.now), source)
    end
    more = count_reactions(room, sums, source, argv, at + 3, reactions) or more
    at = at + 3 + 2 * reactions
  end
  for index = at, #argv do
    local total, holder = string.match(redis.call("HGET", sources, argv[index]) or "", "^(%d+) (.*)$")
    if holder == subscription then
      redis.call("HSET", sources, argv[index], total .. " ")
    end
  end
  return added, more, fresh
end

-- Bound the memory of sources. Who may be told again, for whoever told it last is still there, is not forgotten.
local function forget_sources(room)
  local sources, order, leases = room.key .. ":n", room.key .. ":o", room.key .. ":w"
  if redis.call("HLEN", sources) <= SOURCES then
    return
  end
  for _, source in ipairs(redis.call("ZRANGE", order, "0", text(SLICE_GONE - 1))) do
    local holder = string.match(redis.call("HGET", sources, source) or "", "^%d+ (.*)$")
    if holder and redis.call("ZSCORE", leases, holder) then
      redis.call("ZADD", order, text(room.now), source)
    else
      redis.call("HDEL", sources, source)
      redis.call("HDEL", room.key .. ":e", source)
      redis.call("ZREM", order, source)
    end
  end
end

-- Renew a lease, or end it, and end those that ran out. Returns by how much the number of viewers has changed.
local function count_viewers(room, subscription, viewers, lease)
  local subscriptions, leases = room.key .. ":v", room.key .. ":w"
  local before = tonumber(redis.call("HGET", subscriptions, subscription) or 0)
  viewers = viewers or before
  local changed = -before
  if lease > 0 then
    redis.call("HSET", subscriptions, subscription, text(viewers))
    redis.call("ZADD", leases, text(room.now + lease), subscription)
    changed = changed + viewers
  else
    redis.call("HDEL", subscriptions, subscription)
    redis.call("ZREM", leases, subscription)
  end
  for _, gone in ipairs(redis.call("ZRANGEBYSCORE", leases, "-inf", text(room.now), "LIMIT", "0", text(SLICE_GONE))) do
    changed = changed - tonumber(redis.call("HGET", subscriptions, gone) or 0)
    redis.call("HDEL", subscriptions, gone)
    redis.call("ZREM", leases, gone)
  end
  return changed
end

-- Users who came: `count` of them from argv[first] on. Returns how many there were in all, an estimate.
local function count_arrivals(room, unique, argv, first, count)
  local key, changed = room.key .. ":u", false
  for start = first, first + count - 1, SLICE do
    local stop = math.min(start + SLICE, first + count) - 1
    changed = redis.call("PFADD", key, unpack(argv, start, stop)) == 1 or changed
  end
  return changed and redis.call("PFCOUNT", key) or unique
end

-- argv: 7 subscription, 8 its viewers, "" for as many as before, 9 ms of its lease, 0 when it leaves, 10 ms between totals that are
-- spread, 11 number of users who came, 12 number of sources that are told, 13... the users, then the sources, see `count_sources`.
-- Reply: {epoch, head, time, ms after which the caller should report again for the sake of others, or 0, revision of the record,
-- version of the tallies that was spread, totals as they are spread}
local function report(keys, argv)
  local room = enter(keys, argv)
  local h = redis.call("HMGET", room.key .. ":h", "likes", "viewers", "version", "told", "untold", "withheld", "withheld_bytes",
    "peak", "unique", "reactions", "cast", "tallied")
  local likes, viewers, version = tonumber(h[1] or 0), tonumber(h[2] or 0), tonumber(h[3] or 0)
  local told, untold, unique = tonumber(h[4] or 0), h[5] == "1", tonumber(h[9] or 0)
  local sums = { of = unpacked(h[10]), names = 0 }
  for _ in pairs(sums.of) do
    sums.names = sums.names + 1
  end

  local subscription, lease, pause_ms = argv[7], tonumber(argv[9]), tonumber(argv[10])
  local arrivals = tonumber(argv[11])
  local more_viewers = count_viewers(room, subscription, tonumber(argv[8]), lease)
  local more_likes, more_reactions, fresh =
    count_sources(room, subscription, sums, argv, 13 + arrivals, tonumber(argv[12]))
  local all_unique = count_arrivals(room, unique, argv, 13, arrivals)
  likes, viewers = likes + more_likes, viewers + more_viewers
  local peak, reactions = math.max(tonumber(h[8] or 0), viewers), more_reactions and packed(sums.of) or h[10] or ""
  if fresh then
    forget_sources(room)
  end
  local record = load_record(room)
  expire_fields(room, record)

  local due = 0
  if more_likes ~= 0 or more_viewers ~= 0 or more_reactions or all_unique ~= unique then
    version = version + 1
    due = told + pause_ms - room.now
    if untold then due = 0 end
    untold = true
  elseif untold then
    -- Perhaps the one who is to spread them, a moment too early.
    due = told + pause_ms - room.now
  end
  local totals = "t2 " .. text(room.epoch) .. " " .. text(version) .. " " .. text(likes) .. " " .. text(viewers) .. " "
    .. (h[6] or "0") .. " " .. (h[7] or "0") .. " " .. text(peak) .. " " .. text(all_unique) .. " " .. reactions
  -- Who leaves will not report again.
  if untold and (room.now - told >= pause_ms or room.now < told or lease == 0) then
    redis.call("SPUBLISH", room.key .. ":c", totals)
    told, untold, due = room.now, false, 0
  end
  redis.call("HSET", room.key .. ":h", "likes", text(likes), "viewers", text(viewers), "version", text(version),
    "told", text(told), "untold", untold and "1" or "0", "peak", text(peak), "unique", text(all_unique), "reactions", reactions)
  for _, key in ipairs(suffixed(room, PRESENT)) do
    keep(key, room.memory)
  end
  if fresh or more_reactions or all_unique ~= unique then
    -- Some may be new.
    tend(room, suffixed(room, TOLD))
  end
  local tallied = h[12] or "0"
  if (h[11] or "0") ~= tallied then
    local tallies_due
    tallied, tallies_due = spread_tallies(room, lease > 0 and pause_ms or 0)
    if tallies_due > 0 and (due <= 0 or tallies_due < due) then
      due = tallies_due
    end
  end
  return { text(room.epoch), text(room.offset), text(room.time), text(math.max(due, 0)), text(record.revision), tallied,
    totals }
end

redis.register_function("@LIBRARY@_report", report)
