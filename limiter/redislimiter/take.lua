-- take reserves starts for one instance of the fleet. It runs alone, so what it reads and writes is
-- one step. The clock is that of the server: instances are not asked what time it is.
--
-- KEYS[1]  a hash, see below
-- ARGV     1 limit, 2 window, 3 jitter, 4 starts wanted (0: tell only), 5 what is left of a pause,
--          6 generation of the start that was refused for its rate ("": none), 7 spread from 0 to 1,
--          8 "run" or "" (the server's run id is not looked at), 9 the channel for pauses,
--          10 "place" if the instance comes when it was told to ask again, else "",
--          11 the latest resume that the instance knows, 12 "resume" to end the pause, else ""
--
-- Returns  when to ask again (0: all starts that were wanted are granted), what is left of the
--          pause, what is left of the quiet time, the generation, the ratio in millionths, the
--          limit, the window and the jitter in force, the latest resume, and then for each start how
--          long until it may begin.
--
-- All times are microseconds. Fields of the hash:
--   run          run id of the server that wrote the hash
--   forgot       when this server was first asked: it may have forgotten starts of before
--   pause        nothing starts before: the destination said so
--   resumed      when the latest resume was; it ends all pauses that were told before
--   n, 1, 2 ...  how many starts were reserved, and the instants of the latest `limit` of them
--   empty        when the bucket would be empty if it kept its rate (a GCRA's arrival time)
--   line         the next place in line, see below
--   ratio, since the share of the rate that was left at since; it climbs back in a minute
--   gen          counts the times that the rate was halved
--   hour, limit, window, jitter, limit0, window0, jitter0
--                the strictest settings seen since hour began, and in the hour before it
local key = KEYS[1]
local limit, window, jitter = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted, told, refused = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local resume = ARGV[12] == 'resume'

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local run = ARGV[8] == 'run' and string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or 'any'

local names = { 'run', 'forgot', 'pause', 'resumed', 'n', 'empty', 'line', 'ratio', 'since', 'gen', 'hour',
  'limit', 'window', 'jitter', 'limit0', 'window0', 'jitter0' }
local h = {}
for i, v in ipairs(redis.call('HMGET', key, unpack(names))) do
  h[names[i]] = i > 1 and tonumber(v) or v
end

-- A deployment may change the settings while older instances still run. The strictest of the
-- last hour count, so that either direction is safe.
h.hour = math.min(h.hour or now, now)
if now >= h.hour + 3600000000 then
  h.limit0, h.window0, h.jitter0 = h.limit, h.window, h.jitter
  h.limit, h.window, h.jitter, h.hour = nil, nil, nil, now
end
h.limit = math.min(limit, h.limit or limit)
h.window = math.max(window, h.window or window)
h.jitter = math.max(jitter, h.jitter or jitter)
limit = math.min(h.limit, h.limit0 or h.limit)
window = math.max(h.window, h.window0 or h.window)
jitter = math.max(h.jitter, h.jitter0 or h.jitter)
local span = window + jitter
local second = 1000000
local ahead = math.min(window, second)

-- Where more is wanted than the limit yields, instances stand in line: each is told to come when its
-- place is three quarters of ahead away, and so asks twice for a start. Who has no place gets a
-- start only if it is nearer than that: so nobody passes the line, and a place that nobody comes for
-- goes to the next who asks. Nobody is told a place more than ten seconds away, because who was told
-- does not come earlier, whatever happens. Who is behind it comes at random in five to ten.
local near, length = ahead * 3 / 4, 10 * second
local most = ARGV[10] == 'place' and ahead or near

local burst, interval = 1, span / limit
if limit >= 10 then burst = math.floor(limit / 10) end

-- Another server, or one without the hash, may have forgotten starts. It grants nothing until the
-- latest of them has left the window.
if h.run ~= run then
  redis.call('DEL', key)
  h.run, h.n, h.forgot, h.line = run, 0, now, 0
  h.empty = now + span + second + burst * interval
end
local quiet = h.forgot + span + second

local ratio = math.min(1, (h.ratio or 1) + math.max(0, now - (h.since or now)) / 60000000 * 15 / 16)

-- A Redis that has lost its data learns the latest resume from the instances, so that the number of
-- the next is higher. The bucket is empty after a resume, as after a pause.
h.resumed = math.max(h.resumed or 0, tonumber(ARGV[11]))
if resume then
  h.resumed = math.max(now, h.resumed + 1)
  if (h.pause or 0) > now then
    h.pause, h.line, h.since = now, 0, math.min(h.since or now, now)
    h.empty = math.max(now, quiet) + burst * interval
  end
end
if told > 0 and now + told > (h.pause or 0) then
  h.pause = now + told
  h.empty = math.max(h.empty, h.pause + burst * interval)
  h.ratio, h.since = ratio, h.pause
else
  told = 0
end
local open = math.max(now, quiet, h.pause or 0)

-- The rate halves once for each generation of starts.
h.gen = h.gen or 0
if refused ~= '' and tonumber(refused) == h.gen then
  ratio = math.max(1 / 16, ratio / 2)
  h.gen, h.ratio, h.since = h.gen + 1, ratio, open
  h.empty = math.max(h.empty, open + interval / ratio)
end
if ratio < 1 then
  burst, interval = 1, interval / ratio
end

local reply = {}
local again = 0
for i = 1, wanted do
  local t = open
  -- Each start lies a span behind the start `limit` before it. So every limit-th start is alone in
  -- any window, and a window holds at most limit starts, in whatever order they were granted.
  local oldest = redis.call('HGET', key, h.n + 1 - limit)
  if oldest then t = math.max(t, oldest + span) end
  if limit >= 10 or ratio < 1 then t = math.max(t, h.empty - (burst - 1) * interval) end
  if t - now > most then
    local place = math.max(t, h.line or 0)
    again = place - now - near
    if place - t > length then
      again = length * (1 + ARGV[7]) / 2
    else
      h.line = place + (wanted - i + 1) * interval
    end
    break
  end
  t = math.ceil(t)
  h.n = h.n + 1
  h.empty = math.max(h.empty, t) + interval
  redis.call('HSET', key, h.n, string.format('%.0f', t))
  reply[i] = t - now
end
-- Where the limit was lowered, more than one instant is out of use.
local last = h.n - limit
while last > 0 and redis.call('HDEL', key, last) == 1 do last = last - 1 end

local fields = {}
for _, name in ipairs(names) do
  if h[name] then
    fields[#fields + 1] = name
    fields[#fields + 1] = name == 'run' and run or string.format('%.17g', h[name])
  end
end
redis.call('HSET', key, unpack(fields))
redis.call('PEXPIRE', key, string.format('%.0f', 2 * 3600000 + (open - now) / 1000))

-- A user of Redis that may not use the channel is no reason to stop: the others hear with their next
-- call.
if resume or told > 0 then
  redis.pcall('PUBLISH', ARGV[9], string.format('%.0f %.0f', h.resumed, told))
end

return { math.ceil(again), math.ceil(math.max(0, (h.pause or 0) - now)), math.max(0, quiet - now), h.gen,
  math.floor(ratio * 1000000), limit, window, jitter, h.resumed, unpack(reply) }
