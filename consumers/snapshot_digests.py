"""The state that workers left behind: an engine loaded from the newest snapshots of a folder.

Workers that share a snapshot store leave one newest snapshot per partition; together they are
the whole state, and its digest compares with a replay's (DESIGN law 1). Reads files only.
"""

from __future__ import annotations

from consumers.configuration import make_engine, make_snapshot_store
from consumers.refusals import does_not_fit
from consumers.snapshot_copies import ITEMS, USERS, split_pending
from stream.engine import Engine
from stream.settings import Settings


def load_snapshots(settings: Settings) -> Engine:
    """Return an engine with every partition as its newest valid snapshot has it.

    Args:
        settings: Those of the workers: data folder, numbers of partitions, bounds of the tables.

    A partition without a snapshot is empty and wants offset 0.

    Raises:
        StateMismatch: A snapshot was made with other settings.
    """
    engine = make_engine(settings)
    store = make_snapshot_store(settings)
    partitions = [
        *((USERS, number) for number in range(engine.num_partitions)),
        *((ITEMS, number) for number in range(engine.num_item_partitions)),
    ]
    for kind, number in partitions:
        table = engine.open_users(number) if kind == USERS else engine.open_items(number)
        snapshot = store.newest_valid(kind, number)
        if snapshot is not None:
            _, arrays = split_pending(snapshot.arrays)
            try:
                table.restore(arrays)
            except ValueError as error:
                raise does_not_fit((kind, number), snapshot.name.file, error) from error
    return engine
