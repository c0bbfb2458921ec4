"""
The scripts that run in the server. Each is one atomic step.

Rule 1: a script makes all checks before its first write: an error in the middle would leave what came before.
Rule 2: what a publish is worth is judged by `log.judging`, by the log as the node knows it. The script stores
        it only if the judgement still holds. So there is no second copy of that judgement here.
Rule 3: all keys are declared, and have one hash tag.
"""

from __future__ import annotations

import hashlib
from typing import Final


class Script:
    def __init__(self, text: str) -> None:
        self.text: Final = text.strip().encode()
        self.sha: Final = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


# Entries of others that a publish is stored after without being judged again.
BETWEEN = 128
# Milliseconds for which the others let a node go first that came too late several times.
TURN = 100

# The check, total and time of an entry, in what the server holds as its head.
PARTS = "'^(%S+) %S+ (%S+) (%S+)'"

# KEYS: log, meta, keys, keyline, records, turn.
# ARGV: epoch, head, check and total as the node knows them, its name, 1 if the offsets must be as judged,
# 1 if it wants the next turn, the index of the last entry that later judgements depend on (or 0), three
# counts, then
#   for each entry: id, topic, value and head (of `codec`), right if nothing has been stored since
#   for each key: name, what the log is believed to hold of it, the index of its entry, time and digest
#   for each record: name, the index of its entry, value
STORE = Script(
    """
local log, meta, keys, keyline, records, turn = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local known, check = tonumber(ARGV[2]), ARGV[3]
local found = redis.call('HMGET', meta, 'epoch', 'head', 'check', 'time', 'total', 'floor', 'barrier')
if found[1] ~= ARGV[1] then return {'changed'} end
local head, previous, newest, total = tonumber(found[2]), found[3], found[4], tonumber(found[5])
if redis.call('XLEN', log) ~= head - tonumber(found[6]) + 1 then return {'damaged'} end
local held = redis.call('HLEN', keys)
local between = {}
local moved = false
if head == known then
  if previous ~= check then return {'back'} end
elseif head < known then
  return {'back'}
else
  between = redis.call('XRANGE', log, string.format('%.0f', known + 1), '+', 'COUNT', BETWEEN + 1)
  moved = ARGV[6] == '1' or #between ~= head - known or tonumber(found[7]) > known
    or string.sub(between[1][2][6], 8, 13) ~= check
end
local owner = redis.call('GET', turn)
if owner and owner ~= ARGV[5] then return {'turn', between, held} end
local entries, names, sets = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local at = 11 + 4 * entries
local different = {}
if not moved then
  for i = 0, names - 1 do
    local name = ARGV[at + 4 * i + 1]
    local value = redis.call('HGET', keys, name) or ''
    if value ~= ARGV[at + 4 * i + 2] then
      different[#different + 1] = name
      different[#different + 1] = value
    end
  end
end
if moved or #different > 0 then
  if ARGV[7] == '1' then redis.call('SET', turn, ARGV[5], 'PX', TURN) end
  return {'moved', between, held, different}
end
local as_judged = head == known and tonumber(select(3, string.match(ARGV[15], PARTS))) >= tonumber(newest)
local more = total - tonumber(ARGV[4])
local checks, line = {}, nil
for i = 1, entries do
  local base = 11 + 4 * (i - 1)
  local id = ARGV[base + 1]
  line = ARGV[base + 4]
  if not as_judged then
    local own, sum, time = string.match(line, PARTS)
    if tonumber(time) < tonumber(newest) then time = newest end
    id = string.format('%.0f-0', head + i)
    line = string.format('%s %s %.0f %s %s', own, previous, more + tonumber(sum), time, ARGV[1])
    previous, newest = own, time
  end
  redis.call('XADD', log, id, 't', ARGV[base + 2], 'v', ARGV[base + 3], 'h', line)
  checks[i] = string.sub(line, 1, 6)
end
local own, sum, time = string.match(line, PARTS)
local barrier = tonumber(ARGV[8])
redis.call('HSET', meta, 'head', string.format('%.0f', head + entries), 'check', own, 'time', time,
  'total', sum, 'barrier', barrier > 0 and string.format('%.0f', head + barrier) or found[7])
for i = 0, names - 1 do
  local base = at + 4 * i
  local index = tonumber(ARGV[base + 3])
  local name = ARGV[base + 1]
  redis.call('HSET', keys, name, string.format('%.0f %s ', head + index, checks[index]) .. ARGV[base + 4])
  redis.call('RPUSH', keyline, name .. ARGV[base + 4])
end
at = at + 4 * names
for i = 0, sets - 1 do
  local base = at + 3 * i
  local index = tonumber(ARGV[base + 2])
  redis.call('HSET', records, ARGV[base + 1],
    string.format('%.0f %s ', head + index, checks[index]) .. ARGV[base + 3])
end
if owner then redis.call('DEL', turn) end
return {'ok', between, redis.call('HLEN', keys)}
""".replace("BETWEEN", str(BETWEEN))
    .replace("TURN)", f"{TURN})")
    .replace("PARTS", PARTS)
)

# KEYS: log. ARGV: how many. Returns offset, topic, time and total of the oldest entries.
OLDEST = Script(
    """
local found = {}
for i, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])) do
  local fields = entry[2]
  found[i] = {entry[1], fields[2], fields[6]}
end
return found
"""
)

# KEYS: log, meta, marks. ARGV: epoch, floor as the node knows it, new floor, bytes below it, most marks, and
# then for each mark: offset, topic. Returns the largest mark dropped, or -1 if another node has trimmed.
TRIM = Script(
    """
local log, meta, marks = KEYS[1], KEYS[2], KEYS[3]
local found = redis.call('HMGET', meta, 'epoch', 'floor', 'dropped')
if found[1] ~= ARGV[1] or found[2] ~= ARGV[2] then return -1 end
redis.call('XTRIM', log, 'MINID', '=', ARGV[3] .. '-0')
for i = 6, #ARGV, 2 do redis.call('ZADD', marks, ARGV[i], ARGV[i + 1]) end
local dropped = found[3]
local over = redis.call('ZCARD', marks) - tonumber(ARGV[5])
if over > 0 then
  dropped = redis.call('ZRANGE', marks, over - 1, over - 1, 'WITHSCORES')[2]
  redis.call('ZREMRANGEBYRANK', marks, 0, over - 1)
end
redis.call('HSET', meta, 'floor', ARGV[3], 'trimmed', ARGV[4], 'dropped', dropped)
return tonumber(dropped)
"""
)

# KEYS: keys, keyline. ARGV: the time up to which keys are too old, how many at most. Returns how many keys
# it looked at, and how many are held.
FORGET_KEYS = Script(
    """
local keys, keyline = KEYS[1], KEYS[2]
local oldest = redis.call('LRANGE', keyline, 0, tonumber(ARGV[2]) - 1)
local gone = 0
for _, item in ipairs(oldest) do
  local name, tail = string.sub(item, 1, 16), string.sub(item, 17)
  if tonumber(string.match(tail, '^%S+')) > tonumber(ARGV[1]) then break end
  gone = gone + 1
  local value = redis.call('HGET', keys, name)
  -- A key that was used again has a later place in the line.
  if value and string.sub(value, -#tail) == tail then redis.call('HDEL', keys, name) end
end
if gone > 0 then redis.call('LTRIM', keyline, gone, -1) end
return {gone, redis.call('HLEN', keys)}
"""
)

# KEYS: records. ARGV: for each record its name, and its offset with a space.
FORGET_RECORDS = Script(
    """
for i = 1, #ARGV, 2 do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  if value and string.sub(value, 1, #ARGV[i + 1]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return 1
"""
)

# KEYS: log, meta, records. ARGV: epoch and head as they were found ('' if there were none), the new floor, 1
# if all entries go, how many fields of meta follow; then the fields and values of meta, the names and values
# of records. Returns 1, or 0 if another node was first.
SETTLE = Script(
    """
local log, meta, records = KEYS[1], KEYS[2], KEYS[3]
local found = redis.call('HMGET', meta, 'epoch', 'head')
if (found[1] or '') ~= ARGV[1] or (found[2] or '') ~= ARGV[2] then return 0 end
local last = 5 + 2 * tonumber(ARGV[5])
for i = 6, last, 2 do redis.call('HSET', meta, ARGV[i], ARGV[i + 1]) end
if ARGV[4] == '1' then
  redis.call('DEL', log)
else
  redis.call('XTRIM', log, 'MINID', '=', ARGV[3] .. '-0')
end
for i = last + 1, #ARGV, 2 do redis.call('HSET', records, ARGV[i], ARGV[i + 1]) end
return 1
"""
)
