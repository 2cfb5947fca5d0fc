"""Beyond accuracy, against values computed by hand."""

import math

import numpy as np
import pytest

from evaluation.exposure import Exposure, gini
from evaluation.facts import Facts
from tests.evaluation.tiny_logs import START_MS, Event, decode

HOUR = 3_600


def facts_of(*events: Event) -> Facts:
    facts = Facts()
    facts.learn(decode(events), 0, len(events))
    return facts


def test_figures_by_hand() -> None:
    facts = facts_of(
        Event("u1", "a", 0), Event("u2", "a", 1), Event("u1", "b", HOUR), Event("u3", "c", HOUR),
        Event("u3", "d", HOUR),
    )  # fmt: skip
    exposure = Exposure()
    exposure.add(["a", "b"], START_MS + 2 * HOUR * 1000, facts)
    exposure.add(["a", "new"], START_MS + 2 * HOUR * 1000, facts)
    found = exposure.summary(facts)
    assert found["lists"] == 2
    # a, b and new of a, b, c, d and new.
    assert found["coverage"] == 0.6
    # Exposures 0 0 1 1 2.
    assert found["gini"] == pytest.approx((0 * 1 + 2 * 1 + 4 * 2) / (5 * 4))
    # a: 3/6, b: 2/6, new: 1/6.
    bits = 2 * math.log2(2) + math.log2(3) + math.log2(6)
    assert found["novelty_bits"] == pytest.approx(bits / 4, abs=1e-6)
    # a and b share one of two users and one: 1 / sqrt(2); a and new share none.
    assert found["diversity"] == pytest.approx((1 - 1 / math.sqrt(2) + 1) / 2, abs=1e-6)
    # a 2 h, b 1 h, a 2 h; new has no age.
    assert found["median_age_h"] == 2.0


def test_no_lists_have_no_figures() -> None:
    found = Exposure().summary(Facts())
    assert found == {
        "lists": 0, "coverage": None, "gini": None, "novelty_bits": None, "diversity": None,
        "median_age_h": None,
    }  # fmt: skip
    exposure = Exposure()
    exposure.add([], 0, Facts())
    assert exposure.summary(facts_of(Event("u1", "a", 0)))["coverage"] == 0.0


@pytest.mark.parametrize(("counts", "expected"), [([1, 2, 3], 2 / 9), ([0, 5], 0.5), ([7], 0.0)])
def test_gini_by_hand(counts: list[int], expected: float) -> None:
    assert gini(np.array(counts)) == pytest.approx(expected)
