from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from state.item_limits import DAY_MS, HOUR_MS, ItemLimits
from state.item_partition import ItemPartition
from state.signal_columns import SignalColumns
from tests.state.item_worlds import (
    START_MS,
    ItemOracle,
    Pair,
    Row,
    everything,
    make_frame,
    small_limits,
    source_rows,
)


def fold(rows: list[Row], *, limits: ItemLimits | None = None) -> ItemPartition:
    partition = ItemPartition(partition=0, num_sources=1, limits=limits or small_limits())
    partition.apply(offset=0, frame=make_frame(rows, begin=0))
    return partition


def signals_of(partition: ItemPartition, *, later_ms: int = 0) -> SignalColumns:
    return partition.read_signals(
        partition.live_rows(), as_of_ms=partition.stream_time_ms + later_ms
    )


@given(rows=source_rows(span_ms=3 * DAY_MS))
@settings(max_examples=40, deadline=None)
def test_signals_are_the_oracles_weighed_sums(rows: list[Row]) -> None:
    if not rows:
        return
    limits = small_limits(windows_ms=(8 * HOUR_MS, 2 * DAY_MS, 30 * DAY_MS),
                          window_weights=(3.0, 2.0, 1.0), num_neighbours=3)  # fmt: skip
    partition = fold(rows, limits=limits)
    oracle = ItemOracle(rows, limits=limits, is_owned=everything)
    signals = signals_of(partition)
    for index in range(len(signals)):
        item = signals.item_id(index)
        sums, neighbours = weighed(oracle, item)
        columns = (signals.interactions, signals.out_sums, signals.in_sums)
        came = np.array([column[index] for column in columns])
        assert came == pytest.approx(np.maximum(sums, 0.0), rel=1e-5, abs=1e-5)
        begin, end = signals.neighbour_splits[index : index + 2].tolist()
        names = [signals.neighbour_id(at) for at in range(begin, end)]
        assert names == best(neighbours, limits)
        for at, name in enumerate(names, start=begin):
            values = (signals.neighbour_out, signals.neighbour_in, signals.neighbour_cf)
            came = np.array([value[at] for value in values])
            assert came == pytest.approx(neighbours[name], rel=1e-5, abs=1e-5)


def weighed(oracle: ItemOracle, item: bytes) -> tuple[np.ndarray, dict[bytes, np.ndarray]]:
    """Return [interactions, out, in] x windows, and per neighbour [out, in, cf] x windows."""
    limits = oracle.limits
    sums = np.zeros((3, len(limits.windows_ms)))
    neighbours: dict[bytes, np.ndarray] = {}
    for (window, generation), pairs in oracle.pairs.items():
        generation_ms = limits.windows_ms[window] // limits.num_generations
        weight = limits.generation_decay ** (oracle.now_ms // generation_ms - generation)
        words = oracle.marginals[window, generation].get(item, [0] * 5)
        sums[:, window] += weight * np.array([words[0], words[2] / 60, words[3] / 60])
        for (owner, neighbour), counts in pairs.items():
            if owner == item:
                values = neighbours.setdefault(neighbour, np.zeros_like(sums))
                values[:, window] += weight * np.array(counts) / (60, 60, 255)
    return sums, neighbours


def best(neighbours: dict[bytes, np.ndarray], limits: ItemLimits) -> list[bytes]:
    blended = {
        name: round(float((values * np.array(limits.window_weights)).sum()), 9)
        for name, values in neighbours.items()
    }
    order = sorted((-score, name) for name, score in blended.items() if score > 0)
    return [name for _, name in order[: limits.num_neighbours]]


def test_a_generation_weighs_less_with_age_and_leaves_whole() -> None:
    # Window of a day in four: [0 h--6 h)[6--12)[12--18)[18--24), the pair lies in the first.
    start_ms = START_MS // DAY_MS * DAY_MS
    rows = [Row(offset=0, item=b"b", time_ms=start_ms, pairs=(Pair(b"a"),))]
    partition = fold(rows, limits=small_limits(windows_ms=(DAY_MS,), window_weights=(1.0,)))
    sums = [
        float(
            partition.read_signals(
                partition.live_rows(), as_of_ms=start_ms + hours * HOUR_MS
            ).out_sums.max()
        )
        for hours in (0, 5, 6, 12, 18, 24)
    ]
    assert sums == pytest.approx([1.0, 1.0, 0.8, 0.64, 0.512, 0.0])


def test_ties_go_to_the_smaller_id_whatever_came_first() -> None:
    for names in ((b"x", b"y", b"xx"), (b"xx", b"y", b"x")):
        rows = [
            Row(offset=offset, item=b"hub", pairs=(Pair(name),))
            for offset, name in enumerate(names)
        ]
        neighbours = fold(rows).describe(b"hub")["neighbours"]  # type: ignore[index]
        assert [each["item_id"] for each in neighbours] == ["x", "xx", "y"]


def test_offset_and_moment_travel_with_every_item() -> None:
    signals = signals_of(fold([Row(offset=0, item=b"a", pairs=(Pair(b"b"),))]), later_ms=5)
    assert signals.offsets.tolist() == [1, 1]
    assert signals.as_of_ms.tolist() == [START_MS + 5] * 2


def test_nothing_to_read_is_no_error() -> None:
    partition = ItemPartition(partition=0, num_sources=1, limits=small_limits())
    signals = partition.read_signals(np.empty(0, np.int32), as_of_ms=0)
    assert len(signals) == 0
    assert partition.describe(b"a") is None
    assert list(partition.digest_rows()) == []
