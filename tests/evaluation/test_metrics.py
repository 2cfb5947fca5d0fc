"""Metrics against values computed by hand."""

import math

import numpy as np
import pytest

from evaluation.metrics import by_decile, means, rank_of


@pytest.mark.parametrize(
    ("others", "rank"),
    [([], 1.0), ([0.4, 0.3], 1.0), ([0.9, 0.3], 2.0), ([0.5], 1.5), ([0.9, 0.5, 0.5, 0.5], 3.5)],
)
def test_rank_counts_better_scores_and_half_the_ties(others: list[float], rank: float) -> None:
    assert rank_of(0.5, np.array(others, np.float64)) == rank


def test_means_by_hand() -> None:
    ranks = np.array([1.0, 2.0, 10.0, 10.5, 20.0, 20.5, 0.0, 300.0])
    found = means(ranks)
    assert found.num_tested == 8
    assert found.hr10 == 3 / 8
    assert found.hr20 == 5 / 8
    assert found.ndcg10 == pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(11)) / 8)
    assert found.mrr20 == pytest.approx((1 + 1 / 2 + 1 / 10 + 1 / 10.5 + 1 / 20) / 8)


def test_no_events_give_zeros() -> None:
    assert means(np.zeros(0)).as_json() == {
        "tested": 0, "hr@10": 0.0, "ndcg@10": 0.0, "mrr@20": 0.0, "hr@20": 0.0,
    }  # fmt: skip


def test_deciles_are_ten_equal_parts_in_order() -> None:
    ranks = np.concatenate((np.ones(5), np.zeros(20)))
    deciles = by_decile(ranks)
    assert [each["tested"] for each in deciles] == [3] * 5 + [2] * 5
    assert [each["hr@10"] for each in deciles] == [1.0, 0.666667, *[0.0] * 8]
    assert len(by_decile(np.zeros(0))) == 10
