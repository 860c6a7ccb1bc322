-- Fanlight's wire contract, version 1: the one script that writes. See docs/protocol.md.
--
--   check   KEYS meta
--           ARGV 'check'
--           -> {position, epoch, breaks}
--   event   KEYS meta, tail, stream[, idempotency key]
--   end     ARGV 'event' | 'end', live channel, type, data, max entries, retention ms, idempotency ms
--           -> {id, 1 if it was published before, else 0}
--
-- Order matters. Redis does not roll a script back: XADD is the first write, because it is the first
-- that Redis may refuse (out of memory, full disk), and PUBLISH is the last, because it works even then.

local VERSION = '1'
local TAIL_MS = 86400000       -- a tail outlives the longest retention twice over; never per call
local BREAKS = 16              -- as many epochs back as a cursor is understood
local QUIET_MS = 5             -- no restart or promotion is faster than this
local CHECK_MS = 1000          -- the identity is compared this often under load: INFO costs 9 us

local meta_key, tail_key, stream_key, once_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local op = ARGV[1]

if once_key then
  local id = redis.call('GET', once_key)
  if id then return {id, 1} end
end

local function parse(position)
  local ms, seq = string.match(position, '^(%d+)-(%d+)')
  return tonumber(ms), tonumber(seq)
end

local function below(a, b)
  local a_ms, a_seq = parse(a)
  local b_ms, b_seq = parse(b)
  return a_ms < b_ms or (a_ms == b_ms and a_seq < b_seq)
end

local function top_of_stream()
  local newest = redis.call('XREVRANGE', stream_key, '+', '-', 'COUNT', 1)
  return newest[1] and newest[1][1]
end

local time = redis.call('TIME')
local wall = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local meta = redis.call('HMGET', meta_key,
  'version', 'position', 'wall', 'epoch', 'run_id', 'replid', 'checked', 'breaks')
local version, position, last_wall, epoch = meta[1], meta[2], tonumber(meta[3]), meta[4]
local run_id, replid, checked, breaks = meta[5], meta[6], tonumber(meta[7]), meta[8] or ''

if version and version ~= VERSION then
  return redis.error_reply('FANLIGHTVERSION ' .. meta_key .. ' is of contract version ' .. version
    .. ', this script of ' .. VERSION)
end

-- The tail is read here, before the clock, for the case that meta is gone.
local tail = tail_key and redis.call('GET', tail_key)
local prev = tail and string.match(tail, '^%d+%-%d+')
if tail_key and not tail then prev = top_of_stream() end

-- Is this still the server, and the history, that gave out the last id?
if not epoch or wall < last_wall or wall - last_wall > QUIET_MS or wall - checked > CHECK_MS
    or op == 'check' then
  local info = redis.call('INFO', 'server', 'replication')
  local now_run_id = string.match(info, 'run_id:(%x+)')
  local now_replid = string.match(info, 'master_replid:(%x+)')
  local demoted = not string.match(info, 'master_replid2:0+%s')
  -- A primary renames its history when its last replica has gone for good; that is no loss.
  if not epoch or run_id ~= now_run_id or (replid ~= now_replid and demoted) then
    if epoch then
      breaks = epoch .. ':' .. position .. ' ' .. breaks
      local kept = {}
      for past in string.gmatch(breaks, '%S+') do
        if #kept < BREAKS then kept[#kept + 1] = past end
      end
      breaks = table.concat(kept, ' ')
    end
    local seed = table.concat({now_run_id, now_replid, time[1], time[2], epoch or ''}, ' ')
    repeat
      seed = redis.sha1hex(seed)
      epoch = string.sub(seed, 1, 6)
    until not string.find(breaks, epoch .. ':', 1, true)
  end
  run_id, replid, checked = now_run_id, now_replid, wall
end

if not position then
  -- meta is gone (or never was): begin at the wall clock, above what this channel has.
  position = string.format('%.0f-0', wall)
  if prev and below(position, prev) then position = prev end
end

local function save_meta()
  redis.call('HSET', meta_key, 'version', VERSION, 'position', position,
    'wall', string.format('%.0f', wall), 'epoch', epoch, 'run_id', run_id, 'replid', replid,
    'checked', string.format('%.0f', checked), 'breaks', breaks)
end

if op == 'check' then
  if epoch ~= meta[4] or replid ~= meta[6] then save_meta() end
  return {position, epoch, breaks}
end

if tail and string.find(tail, ' end', 1, true) then
  local id = string.match(tail, '^%S+')
  if op == 'end' then return {id, 1} end
  return redis.error_reply('FANLIGHTCLOSED the channel ended with ' .. id)
end

local ms, seq = parse(position)
if wall > ms then ms, seq = wall, 0 else seq = seq + 1 end
position = string.format('%.0f-%.0f', ms, seq)
local id = position .. '-' .. epoch

local payload = table.concat({
  table.concat({VERSION, id, prev or '0-0', string.format('%.0f', wall), op}, ' '), ARGV[3], ARGV[4],
}, '\n')

redis.call('XADD', stream_key, 'MAXLEN', '~', ARGV[5], position, 'm', payload)
save_meta()
redis.call('SET', tail_key, op == 'end' and id .. ' end' or id, 'PX', TAIL_MS)
redis.call('PEXPIRE', stream_key, ARGV[6])
if once_key then redis.call('SET', once_key, id, 'PX', ARGV[7]) end
redis.call('PUBLISH', ARGV[2], payload)
return {id, 0}
