"""Reads of an item partition: signals for publication, and one item described for a person.

Integers meet decay here and nowhere before; sums that fell below 0 (an unlike whose like has
already left) read as 0. Absent: normalisation, which belongs to whoever ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from state.cooccurrence import CF_UNIT, ORDER_UNIT
from state.pair_arena import GENERATION, IN_SUM, INTERACTIONS, OUT_SUM
from state.pair_reads import sum_marginals, top_neighbours
from state.signal_columns import SignalColumns

if TYPE_CHECKING:
    from state.item_partition import ItemPartition

_WORDS = np.array([INTERACTIONS, OUT_SUM, IN_SUM], np.int64)
# Units of out, in and cf sums, in this order.
_UNITS = np.array([ORDER_UNIT, ORDER_UNIT, CF_UNIT], np.float64)


def generation_weights(partition: ItemPartition, *, as_of_ms: int) -> NDArray[np.float64]:
    """Return the weight of each generation slot as of a moment: float64 (W * G,); 0 = gone.

    A generation of age a (0 = the one that holds ``as_of_ms``) weighs ``decay ** a`` and leaves
    at ``a = G``.
    """
    pairs, limits = partition.pairs, partition.limits
    num_generations = limits.num_generations
    slots = np.arange(len(pairs.heads))
    windows = slots // num_generations
    generations = pairs.heads[:, GENERATION]
    ages = np.maximum(as_of_ms // pairs.generation_ms[windows] - generations, 0)
    is_kept = (
        (generations >= 0)
        & (generations > pairs.newest[windows] - num_generations)
        & (ages < num_generations)
    )
    weights: NDArray[np.float64] = np.where(is_kept, limits.generation_decay**ages, 0.0)
    return weights


def read_signals(
    partition: ItemPartition, rows: NDArray[np.int32], *, as_of_ms: int
) -> SignalColumns:
    """Read the signals of some item rows; see ``ItemPartition.read_signals``."""
    limits, ids, pairs = partition.limits, partition.ids, partition.pairs
    num_windows = len(limits.windows_ms)
    weights = generation_weights(partition, as_of_ms=as_of_ms)
    popularity, action_counts = partition.counts.read(
        rows,
        as_of_ms=max(as_of_ms, partition.stream_time_ms),
        half_lives_ms=np.array(limits.half_lives_ms, np.int64),
        action_half_life_ms=limits.action_half_life_ms,
    )
    sums = sum_marginals(pairs.headers, pairs.heads, weights, rows, num_windows, _WORDS)
    sums = np.maximum(sums, 0.0)
    blend = np.array(limits.window_weights, np.float64)[None, :] / _UNITS[:, None]
    splits, keys, values = top_neighbours(
        pairs.lines,
        pairs.heads,
        pairs.headers,
        weights,
        blend,
        ids.arena,
        ids.starts,
        ids.lengths,
        rows,
        limits.num_neighbours,
    )
    values = values / _UNITS[None, :, None].astype(np.float32)
    id_rows = partition.id_rows[rows]
    return SignalColumns(
        buffer=ids.arena,
        starts=ids.starts[id_rows],
        lengths=ids.lengths[id_rows],
        offsets=np.full(len(rows), partition.next_offset, np.int64),
        as_of_ms=np.full(len(rows), as_of_ms, np.int64),
        popularity=popularity,
        action_counts=action_counts,
        interactions=sums[0].astype(np.float32),
        out_sums=(sums[1] / ORDER_UNIT).astype(np.float32),
        in_sums=(sums[2] / ORDER_UNIT).astype(np.float32),
        neighbour_splits=splits,
        neighbour_starts=ids.starts[keys],
        neighbour_lengths=ids.lengths[keys],
        neighbour_out=np.ascontiguousarray(values[:, 0]),
        neighbour_in=np.ascontiguousarray(values[:, 1]),
        neighbour_cf=np.ascontiguousarray(values[:, 2]),
    )


def describe_item(partition: ItemPartition, item_id: bytes) -> dict[str, Any] | None:
    """Describe one owned item in plain values; see ``ItemPartition.describe``."""
    id_row = partition.ids.row_of(item_id)
    row = int(partition.item_rows[id_row]) if id_row >= 0 else -1
    if row < 0:
        return None
    limits = partition.limits
    signals = read_signals(partition, np.array([row], np.int32), as_of_ms=partition.stream_time_ms)
    return {
        "item_id": item_id.decode(errors="replace"),
        "item_partition": partition.partition,
        "as_of_ms": partition.stream_time_ms,
        "popularity": dict(
            zip(map(str, limits.half_lives_ms), signals.popularity[0].tolist(), strict=True)
        ),
        "action_counts": signals.action_counts[0].tolist(),
        "windows": [
            {
                "window_ms": window_ms,
                "interactions": float(signals.interactions[0, window]),
                "out": float(signals.out_sums[0, window]),
                "in": float(signals.in_sums[0, window]),
            }
            for window, window_ms in enumerate(limits.windows_ms)
        ],
        "neighbours": [
            {
                "item_id": signals.neighbour_id(index).decode(errors="replace"),
                "out": signals.neighbour_out[index].tolist(),
                "in": signals.neighbour_in[index].tolist(),
                "cf": signals.neighbour_cf[index].tolist(),
            }
            for index in range(len(signals.neighbour_starts))
        ],
    }
