"""Pair counts that age: the curve by example, windows apart, and the bounds of its settings."""

import numpy as np
import pytest

from state.fading import Fading, faded
from state.item_limits import DAY_MS, HOUR_MS, CatalogueLimits


def fading(decay: float = 0.5, num_generations: int = 4) -> Fading:
    """Two windows of four generations: an hour each, and six hours each."""
    return Fading.of(
        CatalogueLimits(
            windows_ms=(4 * HOUR_MS, DAY_MS),
            window_weights=(1.0, 1.0),
            generation_decay=decay,
            num_generations=num_generations,
        )
    )


def weight(age_ms: int, shares: tuple[float, float] = (1.0, 0.0), **curve: float) -> float:
    return faded(fading(**curve), np.array([shares], np.float32), 0, age_ms)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("age_hours", "expected"),
    [(-1, 1.0), (0, 1.0), (0.5, 0.75), (1, 0.5), (2, 0.25), (3.5, 0.0625), (4, 0.0), (400, 0.0)],
)
def test_weight_halves_per_generation_and_ends_with_the_window(
    age_hours: float, expected: float
) -> None:
    assert weight(int(age_hours * HOUR_MS)) == pytest.approx(expected)


def test_each_window_fades_its_own_share() -> None:
    # After four hours the short window is gone, the long one at two thirds of a generation.
    assert weight(4 * HOUR_MS, (0.25, 0.75)) == pytest.approx(0.75 * (1 - 0.5 * 4 / 6))


def test_without_decay_counts_stay_whole_until_the_last_generation_fades() -> None:
    assert weight(3 * HOUR_MS, decay=1.0) == 1.0
    assert weight(int(3.5 * HOUR_MS), decay=1.0) == pytest.approx(0.5)


def test_an_item_without_signals_weighs_nothing_later() -> None:
    assert weight(HOUR_MS, (0.0, 0.0)) == 0.0
