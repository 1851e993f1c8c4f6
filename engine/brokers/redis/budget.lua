-- A room's budget of events and of bytes: two token buckets, the same arithmetic as in budget.py.

local FREE, LIMITED = 46, 48        -- bytes of lanes: a dot; the digit 0, for no reserve, and above it by the reserve
local PARTS = 64                    -- of one second's worth, in which a reserve is told
local SLACK = 1e-4                  -- may be missing of what an event needs: rounding must not refuse the last of a burst
local SUFFIXES = { "", "_bytes" }   -- of the names of what is kept; the n-th bucket refuses with -n

-- What a room has left; an empty table if it has no budget. `rates`: events and bytes per second, 0 for no limit.
local function open_purse(room, rates)
  local purse = {}
  if rates[1] == 0 and rates[2] == 0 then
    return purse
  end
  local h = redis.call("HMGET", room.key .. ":h", "tokens", "tokens_bytes", "filled")
  local elapsed = math.max(room.now - tonumber(h[3] or 0), 0)
  for index, per_second in ipairs(rates) do
    if per_second > 0 then
      local worth = math.max(1, math.ceil(per_second))
      local left = math.min(worth, tonumber(h[index] or worth) + elapsed * per_second / 1000)
      -- Perhaps the budget was another one: no more debt than there can be in this one.
      purse[#purse + 1] = { index = index, worth = worth, left = math.max(left, -worth), withheld = 0 }
    end
  end
  return purse
end

-- Pay for an event. `lane`: `FREE`, or `LIMITED` and its reserve. Returns 0, or why it does not fit; nothing is taken then.
local function pay(purse, lane, size)
  local reserve = lane - LIMITED
  for _, bucket in ipairs(purse) do
    -- What needs more than there ever is fits when the bucket is full: nothing is refused for ever.
    local need = math.min((bucket.index == 1 and 1 or size) + reserve * bucket.worth / PARTS, bucket.worth)
    if reserve >= 0 and bucket.left + SLACK < need then
      bucket.withheld = bucket.withheld + 1
      return -bucket.index
    end
  end
  for _, bucket in ipairs(purse) do
    bucket.left = math.max(bucket.left - (bucket.index == 1 and 1 or size), -bucket.worth)
  end
  return 0
end

-- Remember what is left, and count what did not fit: the totals have changed then, and whoever published tells the others.
local function close_purse(room, purse)
  local key, withheld = room.key .. ":h", 0
  for _, bucket in ipairs(purse) do
    local suffix = SUFFIXES[bucket.index]
    redis.call("HSET", key, "tokens" .. suffix, string.format("%.17g", bucket.left), "filled", text(room.now))
    if bucket.withheld > 0 then
      redis.call("HINCRBY", key, "withheld" .. suffix, text(bucket.withheld))
      withheld = withheld + bucket.withheld
    end
  end
  if withheld > 0 then
    redis.call("HINCRBY", key, "version", "1")
    redis.call("HSET", key, "untold", "1")
  end
end
