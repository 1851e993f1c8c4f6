-- A room's totals: viewers by subscription, under a lease; likes by source.

local SOURCES = 1000                -- of likes, remembered after they have ended; the oldest merge into the sum for good
local SLICE_GONE = 100              -- forgotten in one call
local PRESENT = { ":v", ":w" }

-- Sources told by a subscription: `count` of them from argv[first] on, name and total each; then names of those that have ended.
-- Returns by how much the likes have grown, and whether there is a source that was not there before.
local function count_likes(room, subscription, argv, first, count)
  local sources, order = room.key .. ":n", room.key .. ":o"
  local added, fresh, ended = 0, false, first + 2 * count
  for index = first, ended - 1, 2 do
    local source, total = argv[index], tonumber(argv[index + 1])
    local entry = redis.call("HGET", sources, source)
    local known = entry and tonumber(string.match(entry, "^%d+")) or 0
    fresh = fresh or not entry
    if total >= known then
      added = added + total - known
      redis.call("HSET", sources, source, text(total) .. " " .. subscription)
      redis.call("ZADD", order, text(room.now), source)
    end
  end
  for index = ended, #argv do
    local total, holder = string.match(redis.call("HGET", sources, argv[index]) or "", "^(%d+) (.*)$")
    if holder == subscription then
      redis.call("HSET", sources, argv[index], total .. " ")
    end
  end
  return added, fresh
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

-- argv: 7 subscription, 8 its viewers, "" for as many as before, 9 ms of its lease, 0 when it leaves, 10 ms between totals that are spread, 11 number of
-- sources that are told, 12... name and total of each, then the names of those that are not told any more.
-- Reply: {epoch, head, time, version, likes, viewers, withheld, ms after which the caller should report again for the sake of others,
-- or 0, revision of the record}
local function report(keys, argv)
  local room = enter(keys, argv)
  local h = redis.call("HMGET", room.key .. ":h", "likes", "viewers", "version", "told", "untold", "withheld")
  local likes, viewers, version = tonumber(h[1] or 0), tonumber(h[2] or 0), tonumber(h[3] or 0)
  local told, untold, withheld = tonumber(h[4] or 0), h[5] == "1", h[6] or "0"

  local subscription, lease, pause_ms = argv[7], tonumber(argv[9]), tonumber(argv[10])
  local more_viewers = count_viewers(room, subscription, tonumber(argv[8]), lease)
  local more_likes, fresh = count_likes(room, subscription, argv, 12, tonumber(argv[11]))
  likes, viewers = likes + more_likes, viewers + more_viewers
  if fresh then
    forget_sources(room)
  end
  local record = load_record(room)
  expire_fields(room, record)

  local due = 0
  if more_likes ~= 0 or more_viewers ~= 0 then
    version = version + 1
    due = told + pause_ms - room.now
    if untold then due = 0 end
    untold = true
  elseif untold then
    -- Perhaps the one who is to spread them, a moment too early.
    due = told + pause_ms - room.now
  end
  -- Who leaves will not report again.
  if untold and (room.now - told >= pause_ms or room.now < told or lease == 0) then
    redis.call("SPUBLISH", room.key .. ":c", "t1 " .. text(room.epoch) .. " " .. text(version) .. " " .. text(likes) .. " "
      .. text(viewers) .. " " .. withheld)
    told, untold, due = room.now, false, 0
  end
  redis.call("HSET", room.key .. ":h", "likes", text(likes), "viewers", text(viewers), "version", text(version),
    "told", text(told), "untold", untold and "1" or "0")
  -- Those that may be new.
  for _, key in ipairs(suffixed(room, fresh and TOTALS or PRESENT)) do
    keep(key, tonumber(argv[6]))
  end
  return { text(room.epoch), text(room.offset), text(room.time), text(version), text(likes), text(viewers), withheld,
    text(math.max(due, 0)), text(record.revision) }
end

redis.register_function("@LIBRARY@_report", report)
