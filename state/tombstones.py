"""What finds an erased user's tombstone in Redis without the id: the slot and a hash of it.

A tombstone stands in the cluster slot of the user's list (`consumers.sink_keys`), and both follow
from the id. An erase forgets the id, so they are computed at the erase and kept in its place.
"""

from __future__ import annotations

from binascii import crc_hqx
from hashlib import blake2b

NUM_SLOTS = 16_384  # Fixed by the Redis Cluster specification.


def list_key(user_id: bytes) -> bytes:
    """Return the key of a user's list.

    >>> list_key(b"u1")
    b'rec:{u1}'
    """
    return b"rec:{%b}" % user_id


def slot_of(key: bytes) -> int:
    """Return the key's cluster slot, ``CRC16(tag or key) mod 16384``.

    Source: Redis Cluster specification, "Hash tags"; CRC16-CCITT (XMODEM) is ``binascii.crc_hqx``.

    >>> slot_of(b"rec:{a}b}") == slot_of(b"a"), slot_of(b"123456789")
    (True, 12739)
    """
    begin = key.find(b"{")
    if begin >= 0:
        end = key.find(b"}", begin + 1)
        if end > begin + 1:
            key = key[begin + 1 : end]
    return crc_hqx(key, 0) & (NUM_SLOTS - 1)


def name_of(user_id: bytes) -> int:
    """Return the 64-bit hash under which an erased user is remembered (BLAKE2b, unkeyed).

    A cryptographic hash, so that nobody can find a second id whose erase would block a list.
    """
    return int.from_bytes(blake2b(user_id, digest_size=8).digest(), "big")


def tombstone_of(user_id: bytes) -> tuple[int, int]:
    """Return (slot, name) of a user's tombstone."""
    return slot_of(list_key(user_id)), name_of(user_id)
