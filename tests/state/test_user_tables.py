"""What is left of a user who is erased: nothing but a tombstone."""

from state.erased_users import Erase
from state.tombstones import tombstone_of
from tests.state.user_builders import (
    Log,
    SmallCatalogue,
    apply,
    users_by_id,
)
from tests.state.user_logs import make
from tests.state.user_oracle import ERASE, LIKE, Event


def test_erase_leaves_no_byte_of_the_user() -> None:
    partition = make(catalogue=SmallCatalogue())
    log: Log = [
        Event(b"somebody-to-forget", b"x", b"1", 5, LIKE),
        Event(b"v", b"x", b"1", 5, LIKE),
        Event(b"somebody-to-forget", b"", b"2", 6, ERASE),
    ]

    result = apply(partition, log, 0, 3)

    assert result.erased_user_ids == (b"somebody-to-forget",)
    assert result.erased_offsets == (2,)
    assert result.erased_user_rows == (0,)
    arrays = partition.arrays()
    assert not any(b"somebody" in array.tobytes() for array in arrays.values())
    row = 1 - partition.users.row_of(b"v")
    for name, array in arrays.items():
        if name.startswith(("history.", "seen.", "interests.", "affinities.", "user_facts.")):
            assert not array[row].any(), name
    erase = Erase(2, log[2].ts, *tombstone_of(b"somebody-to-forget"))
    assert partition.read_erases(0, 9) == [erase]
    assert len(partition._tables.event_ids) == 2  # v's event, and the erase itself


def test_a_copy_of_an_erase_does_not_erase_again() -> None:
    partition = make()
    log: Log = [
        Event(b"u", b"x", b"1", 5, LIKE),
        Event(b"u", b"", b"2", 6, ERASE),
        Event(b"u", b"y", b"3", 7, LIKE),
        Event(b"u", b"", b"2", 6, ERASE),
    ]

    result = apply(partition, log, 0, 4)

    assert result.erased_offsets == (1,)
    assert [entry[0] for entry in users_by_id(partition)[b"u"][3]] == [b"y"]


def test_after_an_erase_the_same_event_counts_anew() -> None:
    partition = make()
    event = Event(b"u", b"x", b"1", 5, LIKE)

    apply(partition, [event, Event(b"u", b"", b"2", 6, ERASE), event], 0, 3)

    assert partition.counters["duplicate"] == 0
    assert partition.counters["applied"] == 3
