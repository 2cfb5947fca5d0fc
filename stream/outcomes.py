"""What the pipeline's steps hand to the shell: Folded after step 5, Refresh between 7 and 9."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.ranking import RankingInputs
from stream.candidates import CandidateBatch, UserBatch
from stream.dirty_users import DirtyUsers
from stream.events import Reject
from stream.routing import RoutedCopies

# Chooses which touched item rows (int32 (n,)) are published now.
Admit = Callable[[NDArray[np.int32]], NDArray[np.int32]]


def all_rows(rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Admit every row: a replay publishes without a rate."""
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What one slab of interactions asks the shell to do. A = number of applied events.

    Attributes:
        rejects: Records for the dead letters, each offset once.
        copies: Misrouted records to bring to their own partition.
        frames: (item partition, frame) to produce, in order.
        user_rows: int32 (A,), one per applied event, in log order.
        offsets: int64 (A,).
        append_times_ms: int64 (A,), Kafka timestamps: where freshness starts.
        types: uint8 (A,), :class:`stream.events.Action`.
        dirty: The same users, each once, with the most urgent level of their actions.
        erased: (user id, offset, row until then or -1) of every erase.
        num_unknown_fields: Fields that were ignored.
    """

    rejects: tuple[Reject, ...]
    copies: RoutedCopies
    frames: list[tuple[int, bytes]]
    user_rows: NDArray[np.int32]
    offsets: NDArray[np.int64]
    append_times_ms: NDArray[np.int64]
    types: NDArray[np.uint8]
    dirty: DirtyUsers
    erased: tuple[tuple[bytes, int, int], ...]
    num_unknown_fields: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """A micro-batch between retrieval and slate; copies only, so that any thread may score it.

    Attributes:
        users: The users' columns.
        candidates: Their candidates with provenance.
        inputs: All that a ranker may want.
        catalogue_epoch: Catalogue rows are valid while the catalogue has this epoch.
    """

    users: UserBatch
    candidates: CandidateBatch
    inputs: RankingInputs
    catalogue_epoch: int
