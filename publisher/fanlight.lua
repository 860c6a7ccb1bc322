-- Fanlight's wire contract, version 1: the one script that writes. See docs/protocol.md.
--
--   check   KEYS meta
--           ARGV 'check'
--           -> {position, epoch, breaks}
--   event   KEYS meta, tail, stream[, idempotency key]
--   end     ARGV 'event' | 'end', live channel, type, data, max entries, retention ms, idempotency ms,
--           extensions of the head; without a key or extensions, these may be missing
--           -> {id, 1 if it was published before, else 0}
--   revoke  KEYS meta, tail, stream
--           ARGV as of 'event', to the retention: but where max entries are held it is refused, and they
--           are dropped by age, the retention, alone
--           -> {id, 0}
--
-- Order matters. Redis does not roll a script back: XADD is the first write, because it is the first
-- that Redis may refuse (out of memory, full disk), and PUBLISH is the last, because it works even then.

local VERSION = '1'
local TAIL_MS = 86400000       -- a tail outlives the longest retention twice over; never per call
local AHEAD_MS = 1e14          -- Redis refuses a larger expiry than it can count
local BREAKS = 16              -- as many epochs back as a cursor is understood
local QUIET_MS = 5             -- no restart or promotion is faster than this
local CHECK_MS = 1000          -- the identity is compared this often under load: INFO costs 9 us

local meta_key, tail_key, stream_key, once_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local op = ARGV[1]
local call = redis.call

if once_key then
  local id = call('GET', once_key)
  if id then return {id, 1} end
end

local time = call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)

local meta = call('HMGET', meta_key, 'version', 'position', 'wall', 'epoch', 'checked')
local version, position, epoch = meta[1], meta[2], meta[4]
local last_wall, checked = tonumber(meta[3]), tonumber(meta[5])

if version and version ~= VERSION then
  return redis.error_reply('FANLIGHTVERSION ' .. meta_key .. ' is of contract version ' .. version
    .. ', this script of ' .. VERSION)
end

-- Is this still the server, and the history, that gave out the last id?
local changed = {}              -- the fields of meta to write, besides position and wall
if not epoch or wall < last_wall or wall - last_wall > QUIET_MS or wall - checked > CHECK_MS
    or op == 'check' then
  local past = call('HMGET', meta_key, 'run_id', 'replid', 'breaks')
  local run_id, replid, breaks = past[1], past[2], past[3] or ''
  local info = call('INFO', 'server', 'replication')
  local now_run_id = string.match(info, 'run_id:(%x+)')
  local now_replid = string.match(info, 'master_replid:(%x+)')
  local demoted = not string.match(info, 'master_replid2:0+%s')
  -- A primary renames its history when its last replica has gone for good; that is no loss.
  if not epoch or run_id ~= now_run_id or (replid ~= now_replid and demoted) then
    if epoch then
      breaks = epoch .. ':' .. position .. ' ' .. breaks
      local kept = {}
      for item in string.gmatch(breaks, '%S+') do
        if #kept < BREAKS then kept[#kept + 1] = item end
      end
      breaks = table.concat(kept, ' ')
    end
    local seed = table.concat({now_run_id, now_replid, time[1], time[2], epoch or ''}, ' ')
    repeat
      seed = redis.sha1hex(seed)
      epoch = string.sub(seed, 1, 6)
    until not string.find(breaks, epoch .. ':', 1, true)
  end
  changed = {'version', VERSION, 'epoch', epoch, 'run_id', now_run_id, 'replid', now_replid,
    'breaks', breaks, 'checked', string.format('%.0f', wall)}
  position = position or string.format('%.0f-0', wall)  -- meta is gone, or never was

  if op == 'check' then
    if epoch ~= meta[4] or replid ~= now_replid then
      local written = redis.pcall('HSET', meta_key, 'position', position, 'wall',
        string.format('%.0f', wall), unpack(changed))
      local refused = type(written) == 'table' and written.err
      if refused then
        -- A server that is full takes no events either, before it takes this: until then it may be
        -- read as it stands. A replica's refusal is another matter.
        local full = string.find(refused, 'OOM ', 1, true) or string.find(refused, 'MISCONF ', 1, true)
          or string.find(refused, 'NOREPLICAS ', 1, true)
        if not (full and meta[4]) then return written end
        return {position, meta[4], past[3] or ''}
      end
    end
    return {position, epoch, breaks}
  end
end

local tail = call('GET', tail_key)
if tail and op ~= 'revoke' and string.find(tail, ' end', 1, true) then
  local id = string.match(tail, '^%S+')
  if op == 'end' then return {id, 1} end
  return redis.error_reply('FANLIGHTCLOSED the channel ended with ' .. id)
end

-- Where the tail is gone, the stream may still be there.
local prev = tail and string.match(tail, '^%d+%-%d+')
if not prev then
  local newest = call('XREVRANGE', stream_key, '+', '-', 'COUNT', 1)
  prev = newest[1] and newest[1][1] or '0-0'
end

-- The next position: above the clock's last one, and above the channel's last event, which is the
-- higher of the two only where meta was lost and began anew while the wall clock was behind.
local ms, seq = string.match(position, '(%d+)-(%d+)')
ms, seq = tonumber(ms), tonumber(seq)
local prev_ms, prev_seq = string.match(prev, '(%d+)-(%d+)')
prev_ms, prev_seq = tonumber(prev_ms), tonumber(prev_seq)
if prev_ms > ms or (prev_ms == ms and prev_seq > seq) then ms, seq = prev_ms, prev_seq end
if wall > ms then ms, seq = wall, 0 else seq = seq + 1 end
position = string.format('%.0f-%.0f', ms, seq)
local id = position .. '-' .. epoch
local wall_text = string.format('%.0f', wall)

local trim, bound, kind = 'MAXLEN', ARGV[5], op
if op == 'revoke' then
  -- What counts is never dropped for what is new.
  trim, bound, kind = 'MINID', string.format('%.0f', math.max(0, wall - ARGV[6])), 'event'
  local held, most = call('XLEN', stream_key), tonumber(ARGV[5])
  if held >= most and held - call('XTRIM', stream_key, 'MINID', bound) >= most then
    return redis.error_reply('FANLIGHTFULL ' .. stream_key .. ' holds ' .. ARGV[5] .. ' entries or more')
  end
end

local extensions = ARGV[8] and ' ' .. ARGV[8] or ''
local payload = VERSION .. ' ' .. id .. ' ' .. prev .. ' ' .. wall_text .. ' ' .. kind .. extensions .. '\n'
  .. ARGV[3] .. '\n' .. ARGV[4]

call('XADD', stream_key, trim, '~', bound, position, 'm', payload)
call('HSET', meta_key, 'position', position, 'wall', wall_text, unpack(changed))
-- By positions: the clock may be ahead of the wall clock, which went back. As far as a clock can be wrong.
local tail_ms = string.format('%.0f', TAIL_MS + math.min(ms - wall, AHEAD_MS))
call('SET', tail_key, op == 'end' and id .. ' end' or id, 'PX', tail_ms)
call('PEXPIRE', stream_key, ARGV[6])
if once_key then call('SET', once_key, id, 'PX', ARGV[7]) end
call('PUBLISH', ARGV[2], payload)
return {id, 0}
