"""Similar items: the score is that of the two-way source, also while a neighbour is half known."""

from __future__ import annotations

import numpy as np

from consumers.configuration import load_settings, make_engine, make_pipeline
from state.catalogue import Catalogue
from stream.replay import Replay
from stream.shared_lists import similar_items
from tests.wire_logs import wire_log


def catalogue_of_a_log() -> Catalogue:
    settings = load_settings()
    replay = Replay(
        make_pipeline(settings, make_engine(settings, partitions=1)), signals_interval_ms=0
    )
    replay.feed(wire_log(400, num_users=10, num_items=20))
    return replay.engine.catalogue


def scores_of(catalogue: Catalogue, item_id: bytes) -> dict[bytes, float]:
    found = similar_items(catalogue, [item_id], partition=0, next_offset=1, now_ms=1, size=50)
    return dict(zip(found.item_ids, found.scores.tolist(), strict=True))


def test_scores_are_the_formulas_and_the_same_both_ways() -> None:
    catalogue = catalogue_of_a_log()
    ids = catalogue.items.ids(catalogue.live_rows())
    sums = catalogue.out_sums + catalogue.in_sums
    lists = {item_id: scores_of(catalogue, item_id) for item_id in ids}
    assert sum(map(len, lists.values())) > 100
    for item_id, scores in lists.items():
        row = catalogue.items.row_of(item_id)
        for other_id, score in scores.items():
            other = catalogue.items.row_of(other_id)
            place = catalogue.neighbour_rows[row].tolist().index(other)
            pairs = catalogue.neighbour_out[row, place] + catalogue.neighbour_in[row, place]
            expected = pairs / np.sqrt((sums[row] + 2.0) * (max(sums[other], pairs) + 2.0))
            np.testing.assert_allclose(score, expected, rtol=1e-6)
            np.testing.assert_allclose(score, lists[other_id][item_id], rtol=1e-5)


def test_neighbour_whose_own_signal_has_not_come_does_not_go_first_for_that() -> None:
    catalogue = catalogue_of_a_log()
    item_id = catalogue.items.ids(catalogue.live_rows())[0]
    before = scores_of(catalogue, item_id)
    other = catalogue.items.row_of(next(iter(before)))
    catalogue.out_sums[other] = catalogue.in_sums[other] = 0.0
    after = scores_of(catalogue, item_id)
    assert max(after.values()) < 1.0
