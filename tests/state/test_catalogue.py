from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.catalogue import Catalogue
from state.item_columns import TAG, ItemColumns, metadata_key
from state.item_limits import HOUR_MS, CatalogueLimits
from tests.state.catalogue_builders import make_signals, spans


def new_catalogue(**limits: object) -> Catalogue:
    defaults: dict[str, object] = {"max_items": 64, "num_neighbours": 3}
    return Catalogue(limits=CatalogueLimits(**{**defaults, **limits}))  # type: ignore[arg-type]


def ensure(catalogue: Catalogue, ids: Sequence[bytes], seen_ms: int = 1_000) -> list[int]:
    rows = catalogue.ensure(*spans(ids), np.full(len(ids), seen_ms, np.int64))
    return [int(row) for row in rows]


def neighbours_of(catalogue: Catalogue, item_id: bytes) -> list[bytes]:
    rows = catalogue.neighbour_rows[catalogue.items.row_of(item_id)]
    return catalogue.items.ids(rows[rows >= 0])


def test_an_item_nobody_announced_is_live_from_its_first_sight() -> None:
    catalogue = new_catalogue()
    [row] = ensure(catalogue, [b"a"], 7_000)
    assert catalogue.is_live[row] and not catalogue.is_announced[row]
    assert catalogue.created_at_ms[row] == 7_000
    assert catalogue.live_rows().tolist() == [row]
    assert catalogue.neighbour_rows[row].tolist() == [-1, -1, -1]
    ensure(catalogue, [b"a"], 6_000)
    assert catalogue.created_at_ms[row] == 6_000


def test_seeded_embeddings_are_unit_alike_by_id_and_nearly_orthogonal() -> None:
    ids = [b"item-%d" % number for number in range(40)]
    left, right = new_catalogue(dim=100), new_catalogue(dim=100)
    rows, others = ensure(left, ids), ensure(right, ids[::-1])[::-1]
    vectors = left.embeddings[rows]
    np.testing.assert_array_equal(vectors, right.embeddings[others])
    cosines = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(cosines), 1.0, rtol=1e-5)
    assert np.abs(cosines - np.eye(40)).max() < 0.5
    assert not np.array_equal(vectors, new_vectors(ids, seed=1))


def new_vectors(ids: list[bytes], seed: int) -> np.ndarray:
    catalogue = new_catalogue(dim=100, seed=seed)
    rows = ensure(catalogue, ids)
    return catalogue.embeddings[rows]


def test_an_announcement_fills_columns_and_wins_over_the_first_sight() -> None:
    catalogue = new_catalogue(dim=2, max_tags=2)
    [row] = ensure(catalogue, [b"a"], 1)
    catalogue.put(
        ItemColumns.of(
            [b"a", b"b"],
            created_at_ms=[50, 60],
            duration_ms=[30, 0],
            authors=[b"ann", None],
            categories=[None, b"news"],
            tags=[[b"x", b"y", b"z"], []],
            embeddings=[[3.0, 4.0], None],
            is_hidden=[False, True],
        )
    )
    other = catalogue.items.row_of(b"b")
    assert catalogue.embeddings[row].tolist() == pytest.approx([0.6, 0.8])
    assert catalogue.created_at_ms[[row, other]].tolist() == [50, 60]
    assert catalogue.duration_ms[[row, other]].tolist() == [30, 0]
    assert catalogue.tag_keys[row].tolist() == [metadata_key(TAG, b"x"), metadata_key(TAG, b"y")]
    assert catalogue.author_keys[row] != 0 and catalogue.author_keys[other] == 0
    assert catalogue.category_keys[row] == 0 and catalogue.category_keys[other] != 0
    assert catalogue.is_live[[row, other]].tolist() == [True, False]
    ensure(catalogue, [b"a"], 2)
    assert catalogue.created_at_ms[row] == 50


@pytest.mark.parametrize("embedding", [None, [], [0.0, 0.0], [1e39, 0.0]])
def test_an_announcement_without_direction_keeps_the_seeded_vector(
    embedding: list[float] | None,
) -> None:
    catalogue = new_catalogue(dim=2)
    [row] = ensure(catalogue, [b"a"])
    before = catalogue.embeddings[row].copy()
    catalogue.put(ItemColumns.of([b"a"], created_at_ms=[1], embeddings=[[1.0, 0.0]]))
    with np.errstate(over="ignore"):
        columns = ItemColumns.of([b"a"], created_at_ms=[1], embeddings=[embedding])
    catalogue.put(columns)
    np.testing.assert_array_equal(catalogue.embeddings[row], before)


def test_an_embedding_of_another_length_keeps_its_angles() -> None:
    random = np.random.default_rng(0)
    base = random.normal(size=300)
    near, far = base + 0.3 * random.normal(size=300), random.normal(size=300)
    catalogue = new_catalogue(dim=128)
    vectors = [base.tolist(), near.tolist(), far.tolist()]
    catalogue.put(ItemColumns.of([b"a", b"b", b"c"], created_at_ms=[1, 1, 1], embeddings=vectors))
    rows = [catalogue.items.row_of(item) for item in (b"a", b"b", b"c")]
    cosines = catalogue.embeddings[rows] @ catalogue.embeddings[rows[0]]
    assert cosines[0] == pytest.approx(1.0, rel=1e-5)
    assert cosines[1] > 0.8
    assert abs(cosines[2]) < 0.4


def test_the_last_announcement_of_an_id_wins() -> None:
    catalogue = new_catalogue()
    catalogue.put(ItemColumns.of([b"a", b"a"], created_at_ms=[1, 2], duration_ms=[10, 20]))
    assert catalogue.duration_ms[catalogue.items.row_of(b"a")] == 20


def test_a_removed_item_stays_out_until_it_is_announced_again() -> None:
    catalogue = new_catalogue()
    catalogue.put(ItemColumns.of([b"a"], created_at_ms=[1]))
    catalogue.remove([b"a", b"unknown"])
    ensure(catalogue, [b"a", b"unknown"])
    catalogue.apply_signals(make_signals([b"a"], [[b"unknown"]]))
    assert catalogue.live_rows().tolist() == []
    catalogue.put(ItemColumns.of([b"a"], created_at_ms=[2]))
    assert catalogue.items.ids(catalogue.live_rows()) == [b"a"]
    catalogue.remove([])


def test_signals_of_the_highest_offset_win() -> None:
    catalogue = new_catalogue()
    catalogue.apply_signals(make_signals([b"a"], [[b"b"]], offset=5, value=1.0))
    catalogue.apply_signals(make_signals([b"a"], [[b"c"]], offset=4, value=2.0))
    catalogue.apply_signals(make_signals([b"a"], [[b"d"]], offset=5, value=3.0))
    row = catalogue.items.row_of(b"a")
    assert catalogue.popularity[row, 0] == 1.0
    assert neighbours_of(catalogue, b"a") == [b"b"]
    catalogue.apply_signals(make_signals([b"a"], [[]], offset=6, value=4.0))
    assert catalogue.signal_offsets[row] == 6
    assert neighbours_of(catalogue, b"a") == []


def test_windows_are_blended_and_neighbours_become_provisional_rows() -> None:
    catalogue = new_catalogue(window_weights=(1.0, 0.5))
    catalogue.apply_signals(make_signals([b"a"], [[b"b", b"a", b"c", b"d", b"e"]]))
    row = catalogue.items.row_of(b"a")
    assert neighbours_of(catalogue, b"a") == [b"b", b"a", b"c"]
    assert catalogue.is_live[catalogue.items.row_of(b"c")]
    # Values 1, 2, 3 (itself among them) in window 0, twice that in window 1: 1 * v + .5 * 2 v.
    assert catalogue.neighbour_out[row].tolist() == [2.0, 4.0, 6.0]
    assert catalogue.neighbour_in[row].tolist() == [20.0, 40.0, 60.0]
    assert catalogue.neighbour_cf[row].tolist() == [200.0, 400.0, 600.0]
    assert catalogue.interactions[row] == catalogue.out_sums[row] == catalogue.in_sums[row] == 1.5
    assert catalogue.window_shares[row].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_signals_made_for_other_settings_are_refused() -> None:
    signals = make_signals([b"a"], [[]])
    with pytest.raises(ValueError, match="expected signals of 5 half-lives and 1 windows"):
        new_catalogue(windows_ms=(HOUR_MS,), window_weights=(1.0,)).apply_signals(signals)


def test_at_the_bound_the_least_recently_active_leave_and_the_epoch_grows() -> None:
    catalogue = new_catalogue(max_items=4)
    for number in range(4):
        ensure(catalogue, [b"%d" % number], 100 + number)
    ensure(catalogue, [b"0"], 200)
    catalogue.remove([b"2"])
    catalogue.apply_signals(make_signals([b"3"], [[b"2", b"1", b"0"]], as_of_ms=300))
    ensure(catalogue, [b"new"], 400)
    assert catalogue.items.row_of(b"2") == -1
    assert catalogue.epoch == 1
    assert neighbours_of(catalogue, b"3") == [b"1", b"0"]
    row = catalogue.items.row_of(b"3")
    assert catalogue.neighbour_out[row, 2] == 0.0 < catalogue.neighbour_out[row, 0]
    ensure(catalogue, [b"newer"], 401)
    assert catalogue.items.row_of(b"1") == -1
    assert catalogue.num_evicted == 2


def test_more_new_items_than_fit_keep_the_first_of_the_call() -> None:
    catalogue = new_catalogue(max_items=3)
    ensure(catalogue, [b"old"])
    assert ensure(catalogue, [b"a", b"b", b"c", b"d"])[3] == -1
    assert sorted(catalogue.items.ids(catalogue.live_rows())) == [b"a", b"b", b"c"]


def test_signals_at_the_bound_name_only_rows_that_are_there() -> None:
    catalogue = new_catalogue(max_items=4)
    ids = [b"%d" % number for number in range(4)]
    for start in range(20):
        names = [[b"%d" % (start + step) for step in (1, 2, 3)] for _ in ids[:2]]
        items = [b"%d" % start, b"%d" % (start + 1)]
        catalogue.apply_signals(make_signals(items, names, as_of_ms=start, offset=start + 1))
        rows = catalogue.neighbour_rows[catalogue.live_rows()]
        assert all(catalogue.items.is_live(row) for row in rows[rows >= 0].tolist())
        assert catalogue.sizes()["items"][0] <= 4


IDS = [b"%d" % number for number in range(7)]


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("see"), st.sampled_from(IDS), st.integers(0, 50)),
            st.tuples(st.just("put"), st.sampled_from(IDS), st.integers(0, 50)),
            st.tuples(st.just("hide"), st.sampled_from(IDS), st.integers(0, 50)),
            st.tuples(st.just("remove"), st.sampled_from(IDS), st.integers(0, 50)),
            st.tuples(st.just("signal"), st.sampled_from(IDS), st.integers(0, 50)),
        ),
        max_size=25,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_order_of_news_ends_as_the_oracle_says(steps: list[tuple[str, bytes, int]]) -> None:
    catalogue = new_catalogue()
    items: dict[bytes, dict[str, object]] = {}
    for kind, item, number in steps:
        fresh = {"live": True, "announced": False, "removed": False, "created": number}
        known = items.setdefault(item, {**fresh, "offset": -1})
        if kind in ("see", "signal") and not known["announced"]:
            known["created"] = min(known["created"], number)  # type: ignore[type-var]
        if kind == "see":
            ensure(catalogue, [item], number)
        elif kind in ("put", "hide"):
            hidden = kind == "hide"
            known.update(live=not hidden, announced=True, removed=False, created=number)
            catalogue.put(ItemColumns.of([item], created_at_ms=[number], is_hidden=[hidden]))
        elif kind == "remove":
            known.update(live=False, announced=False, removed=True)
            catalogue.remove([item])
        else:
            known["offset"] = max(known["offset"], number)  # type: ignore[type-var]
            catalogue.apply_signals(make_signals([item], [[]], offset=number, as_of_ms=number))
    assert sorted(catalogue.items.ids(catalogue.live_rows())) == sorted(
        item for item, known in items.items() if known["live"]
    )
    for item, known in items.items():
        told = catalogue.describe(item)
        assert told is not None
        flags = (told["is_live"], told["is_announced"], told["is_removed"])
        assert flags == (known["live"], known["announced"], known["removed"])
        assert told["signal_offset"] == known["offset"]
        if known["announced"]:
            assert told["created_at_ms"] == known["created"]


def test_a_snapshot_holds_everything() -> None:
    catalogue = new_catalogue(max_items=4)
    for number in range(7):
        ensure(catalogue, [b"%d" % number], number)
    catalogue.apply_signals(make_signals([b"6"], [[b"5", b"4"]], as_of_ms=9))
    arrays = {name: array.copy() for name, array in catalogue.arrays().items()}
    restored = new_catalogue(max_items=4)
    ensure(restored, [b"x"])
    restored.restore(arrays)
    assert restored.epoch == catalogue.epoch > 0
    assert restored.describe(b"6") == catalogue.describe(b"6")
    assert restored.describe(b"x") is None
    for each in (catalogue, restored):
        ensure(each, [b"later"], 20)
    ours, theirs = catalogue.arrays(), restored.arrays()
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_an_unknown_item_is_described_as_none() -> None:
    assert new_catalogue().describe(b"a") is None
