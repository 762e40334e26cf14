-- What buckets.py decides, inside of Redis, so that several servers share the buckets.
--
-- KEYS has a key for each demand. ARGV has the mode (take, settle or beat), the time in
-- microseconds (empty: Redis's own), a ticket, for how many microseconds a place among those at the
-- same time is held without a beat, and then for each key: kind, limit, cost.
--
-- All numbers are whole and below 2^53, so a float holds them exactly. The answer is a list of
-- texts: 1 or 0 for admitted, then for each key: remaining, full_us, wait_us.

local UNITS, RETRY_US = 60000000, 1000000
local mode, ticket, held_us = ARGV[1], ARGV[3], tonumber(ARGV[4])
local now_us = tonumber(ARGV[2])
if not now_us then
  local time = redis.call('TIME')
  now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function text(number) return string.format('%.0f', number) end

local function to_gain(units, limit) return math.max(math.ceil(units / limit), 0) end

local function filled(key, limit)
  local found = redis.call('HMGET', key, 'units', 'at_us')
  if not found[1] then return limit * UNITS end
  local passed_us = math.max(now_us - tonumber(found[2]), 0)
  return math.min(tonumber(found[1]) + passed_us * limit, limit * UNITS)
end

local function keep(key, limit, units)
  units = math.min(units, limit * UNITS)
  redis.call('HSET', key, 'units', text(units), 'at_us', text(now_us))
  -- A bucket that is full again is as good as none.
  redis.call('PEXPIRE', key, text(to_gain(limit * UNITS - units, limit) / 1000 + 1000))
end

local function running(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now_us))
  return redis.call('ZCARD', key)
end

local function stand(key, kind, limit, cost)
  if kind == 'concurrency' then
    local count = running(key)
    return math.max(limit - count, 0), 0, count + cost <= limit and 0 or RETRY_US
  end
  local units = filled(key, limit)
  local remaining = math.floor(math.max(units, 0) / UNITS)
  return remaining, to_gain(limit * UNITS - units, limit), to_gain(cost * UNITS - units, limit)
end

local function move(key, kind, limit, cost)
  if kind ~= 'concurrency' then
    keep(key, limit, filled(key, limit) - cost * UNITS)
  elseif cost > 0 then
    redis.call('ZADD', key, text(now_us + held_us), ticket)
    redis.call('PEXPIRE', key, text(held_us / 1000))
  else
    redis.call('ZREM', key, ticket)
  end
end

local function each(visit)
  for number, key in ipairs(KEYS) do
    local first = 2 + 3 * number
    visit(key, ARGV[first], tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2]))
  end
end

if mode == 'beat' then
  for number, key in ipairs(KEYS) do
    redis.call('ZADD', key, 'XX', text(now_us + held_us), ARGV[2 + 3 * number])
    redis.call('PEXPIRE', key, text(held_us / 1000))
  end
  return {}
end

local admitted, told = true, {}
if mode == 'take' then
  each(function(key, kind, limit, cost)
    local _, _, wait_us = stand(key, kind, limit, cost)
    admitted = admitted and wait_us == 0
  end)
end
each(function(key, kind, limit, cost)
  local sign = mode == 'settle' and -1 or 1
  if admitted then move(key, kind, limit, sign * cost) end
  local remaining, full_us, wait_us = stand(key, kind, limit, cost)
  table.insert(told, text(remaining))
  table.insert(told, text(full_us))
  table.insert(told, text(wait_us))
end)
table.insert(told, 1, admitted and '1' or '0')
return told
