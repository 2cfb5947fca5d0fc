"""Names of the keys in Redis, and the cluster slot arithmetic that keeps a call in one slot.

Redis Cluster places a key by the CRC16 of its hash tag: what stands between the first ``{`` and
the first ``}`` after it, or the whole key where that is empty or missing. An id may hold braces of
its own (``rec:{a}b}`` hashes ``a``; ``rec:{}a}`` hashes the whole key), therefore an erase
tombstone does not repeat the id's tag: it carries a fixed string of the same slot, of which there
is one per slot in a table of 16,384.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import cache

from state.tombstones import NUM_SLOTS, list_key, tombstone_of

TRENDING_KEY = b"rec:trending"


def similar_key(item_id: bytes) -> bytes:
    """Return the key of an item's similar items.

    >>> similar_key(b"i1")
    b'sim:{i1}'
    """
    return b"sim:{%b}" % item_id


def probe_keys(*, is_cluster: bool) -> list[bytes]:
    """Return keys of which every node has at least one, where its slots hold 1,024 in a row.

    So they do in a cluster of up to sixteen nodes that was made in one go. A node that no key asks
    is noticed by the next list that is written there.

    >>> probe_keys(is_cluster=False), len(probe_keys(is_cluster=True))
    ([b'rec:trending'], 16)
    """
    return [b"rec:{%b}" % tag for tag in slot_tags()[::1024]] if is_cluster else [TRENDING_KEY]


@cache
def slot_tags() -> tuple[bytes, ...]:
    """Return one short string per slot: the smallest decimal number whose CRC16 falls into it.

    Built once per process (some 170 thousand CRCs, about 50 ms). The same in every process and
    release: tombstones written by one worker must be found by another.

    >>> from state.tombstones import slot_of
    >>> all(slot_of(b"{%b}" % slot_tags()[slot]) == slot for slot in (0, 1, 9999, 16383))
    True
    """
    tags: list[bytes | None] = [None] * NUM_SLOTS
    missing = NUM_SLOTS
    number = 0
    while missing:
        tag = b"%d" % number
        slot = crc_hqx(tag, 0) & (NUM_SLOTS - 1)
        if tags[slot] is None:
            tags[slot] = tag
            missing -= 1
        number += 1
    return tuple(tag for tag in tags if tag is not None)


def tombstone_key(slot: int, name: int) -> bytes:
    """Return the key of an erase tombstone in the given slot.

    >>> from state.tombstones import slot_of
    >>> tombstone_key(slot_of(b"rec:{u1}"), 255).endswith(b"}:00000000000000ff")
    True
    """
    return b"erased:{%b}:%016x" % (slot_tags()[slot], name)


def list_keys(user_id: bytes) -> tuple[bytes, bytes]:
    """Return a user's list key and tombstone key; both live in one slot."""
    return list_key(user_id), tombstone_key(*tombstone_of(user_id))
