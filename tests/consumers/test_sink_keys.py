import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.sink_keys import list_keys, slot_tags, tombstone_key
from state.tombstones import NUM_SLOTS, list_key, slot_of, tombstone_of


def slow_slot(key: bytes) -> int:
    """Compute the slot bit by bit, as the specification's C code does."""
    begin = key.find(b"{")
    if begin >= 0:
        end = key.find(b"}", begin + 1)
        if end not in (-1, begin + 1):
            key = key[begin + 1 : end]
    crc = 0
    for byte in key:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc % NUM_SLOTS


def test_every_slot_has_a_tag_of_its_own():
    tags = slot_tags()
    assert len(set(tags)) == NUM_SLOTS
    assert all(slot_of(b"erased:{%b}:0" % tag) == slot for slot, tag in enumerate(tags))


@given(st.text(alphabet="ab{}é", min_size=1, max_size=8))
def test_list_and_tombstone_share_a_slot_for_any_braces(user):
    key, stone = list_keys(user.encode())
    assert slot_of(key) == slot_of(stone) == slow_slot(key)
    assert stone == tombstone_key(*tombstone_of(user.encode()))


@pytest.mark.parametrize("user", [b"a}b", b"}x", b"{", b"{}", b"}", b"a{b}c"])
def test_ids_with_braces_keep_distinct_keys(user):
    assert list_key(user) == b"rec:{" + user + b"}"
    assert list_keys(user)[1] != list_keys(b"a")[1]
