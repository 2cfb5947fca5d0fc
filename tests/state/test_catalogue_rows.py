"""Item rows of a partition against a catalogue that moves."""

import numpy as np

from tests.state.user_builders import (
    Log,
    SmallCatalogue,
    apply,
)
from tests.state.user_logs import make
from tests.state.user_oracle import COMMENT, LIKE, Event


def test_history_follows_items_that_move_in_the_catalogue() -> None:
    catalogue = SmallCatalogue()
    partition = make(catalogue=catalogue)
    apply(partition, [Event(b"u", b"x", b"1", 5, LIKE), Event(b"u", b"y", b"2", 5, LIKE)], 0, 2)
    catalogue.move()

    users = partition.read_users(np.zeros(1, np.int32))

    assert catalogue.items.ids(users.history_rows[0, :2]) == [b"x", b"y"]
    assert users.history_rows[0, 2:].tolist() == [-1, -1]


def test_an_item_gone_from_the_catalogue_reads_as_minus_one_until_it_comes_back() -> None:
    catalogue = SmallCatalogue()
    partition = make(catalogue=catalogue)
    log: Log = [Event(b"u", b"x", b"1", 5, LIKE), Event(b"u", b"x", b"2", 6, COMMENT)]
    apply(partition, log, 0, 1)
    catalogue.items.remove(np.zeros(1, np.int32))
    catalogue.epoch += 1

    assert partition.read_users(np.zeros(1, np.int32)).history_rows[0, 0] == -1
    apply(partition, log, 1, 2)
    row = partition.read_users(np.zeros(1, np.int32)).history_rows[0, 0]
    assert catalogue.items.id(int(row)) == b"x"


def test_a_restored_partition_brings_its_items_into_a_new_catalogue() -> None:
    first = make(catalogue=SmallCatalogue())
    apply(first, [Event(b"u", b"x", b"1", 5, LIKE)], 0, 1)
    catalogue = SmallCatalogue()
    second = make(catalogue=catalogue)

    second.restore(first.arrays())

    row = second.read_users(np.zeros(1, np.int32)).history_rows[0, 0]
    assert catalogue.items.id(int(row)) == b"x"
    assert catalogue.first_seen_ms == {b"x": 5}
