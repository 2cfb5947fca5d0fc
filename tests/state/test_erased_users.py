"""Erases that a restart must still know where to put a tombstone for."""

from __future__ import annotations

from state.erased_users import Erase, ErasedUsers

FIRST = Erase(offset=7, time_ms=70, slot=16_383, name=2**64 - 1)
SECOND = Erase(offset=8, time_ms=80, slot=0, name=1)


def two_erases() -> ErasedUsers:
    erased = ErasedUsers(max_erased=3)
    erased.add(2**64 - 1, FIRST)
    erased.add(5, SECOND)
    return erased


def test_a_snapshot_keeps_all_that_a_tombstone_needs() -> None:
    again = ErasedUsers(max_erased=3)
    again.restore(two_erases().arrays())
    assert again.read(0, 9) == [FIRST, SECOND]
    assert again.read(1, 1) == [SECOND]


def test_a_later_erase_of_a_user_replaces_the_first_and_the_oldest_leaves_at_the_bound() -> None:
    erased = two_erases()
    again = Erase(offset=9, time_ms=90, slot=16_383, name=2**64 - 1)
    erased.add(2**64 - 1, again)
    assert erased.read(0, 9) == [SECOND, again]
    erased.add(6, FIRST)
    erased.add(7, FIRST)
    assert erased.read(0, 9) == [again, FIRST, FIRST]


def test_an_older_snapshot_is_restored_without_names() -> None:
    arrays = two_erases().arrays()
    again = ErasedUsers(max_erased=3)
    again.restore({name: arrays[name] for name in ("hashes", "offsets")})
    assert again.read(0, 9) == [Erase(7, 0, 0, 0), Erase(8, 0, 0, 0)]
