"""Server-side scripts of the sink: compare-and-set by version, and erase; one call, one slot.

Versions are fixed-width strings, so that Lua's ``<`` orders them. A script replies with one
integer; whatever else comes back is an error of the server (``sink_replies.Reply``).
"""

from __future__ import annotations

import secrets
from hashlib import sha1

# Replies of both scripts.
ACCEPTED = 1  # Written.
STALE = 0  # A newer version stands there.
SAME = 2  # This very version stands there: our own write before a lost reply.
BLOCKED = -1  # The user was erased after the list was made.

# KEYS: list[, tombstone]. ARGV: version, ttl_ms, items, generated_at, events_to, model. These keys
# are ours: whatever else somebody put there is replaced, or one key would hold up every list. (Not
# deleted blindly: after a DEL a full server takes writes that it should refuse.)
# Without arguments it does nothing: so one asks a server whether it knows the script.
WRITE_LIST = """
if not ARGV[1] then return 2 end
if KEYS[2] then
  local kind = redis.call('TYPE', KEYS[2]).ok
  if kind ~= 'string' and kind ~= 'none' then redis.call('DEL', KEYS[2]) end
  local stone = redis.call('GET', KEYS[2])
  if stone and ARGV[1] < stone then return -1 end
end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local held = redis.call('HGET', KEYS[1], 'version')
if held then
  if held == ARGV[1] then return 2 end
  if held > ARGV[1] then return 0 end
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'items', ARGV[3], 'generated_at', ARGV[4],
  'events_to', ARGV[5], 'model', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

# KEYS: tombstone[, list]: of an erase long ago nobody knows the list's key. ARGV: version,
# retention_ms. Deletes first: a full server refuses the SET but not what frees memory.
ERASE_USER = """
if KEYS[2] then
  local kind = redis.call('TYPE', KEYS[2]).ok
  if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[2]) end
  local list = redis.call('HGET', KEYS[2], 'version')
  if list and list < ARGV[1] then redis.call('DEL', KEYS[2]) end
end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local held = redis.call('GET', KEYS[1])
if held == ARGV[1] then return 2 end
if held and held > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


def digest_of(script: str) -> str:
    """Return the name under which ``EVALSHA`` knows a script."""
    # Redis names scripts by SHA-1; nothing here relies on it being hard to collide.
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


def renamed(script: str) -> str:
    """Return the same script, with a name that no server knows yet.

    A server that does not know a worker's own script is not the one that it wrote to last: every
    worker must notice, also when another one has loaded its script there, and also where a server
    fails over and back, for a server knows its scripts still after its time as a replica.
    """
    return f"-- {secrets.token_hex(8)}\n{script}"


ERASE_USER_SHA = digest_of(ERASE_USER)
