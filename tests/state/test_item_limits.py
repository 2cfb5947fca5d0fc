from __future__ import annotations

import pytest

from state.item_limits import DAY_MS, CatalogueLimits, ItemLimits


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"windows_ms": ()}, "one to three windows"),
        ({"windows_ms": (1_000,), "window_weights": (1.0,)}, "a minute to a year"),
        ({"windows_ms": (DAY_MS,)}, "one per window"),
        ({"num_generations": 0}, "num_generations"),
        ({"generation_decay": 0.0}, "generation_decay"),
        ({"max_row_pairs": 48}, "a power of two"),
        ({"max_pairs": 100}, "one full row per generation"),
        ({"max_ids": 10}, "max_items <= max_ids"),
        ({"half_lives_ms": (0,)}, "half_lives_ms"),
        ({"num_hours": 23}, "tiles"),
    ],
)
def test_limits_that_cannot_work_are_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        ItemLimits(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"max_items": 0}, "max_items"),
        ({"dim": 0}, "dim"),
        ({"num_neighbours": 0}, "num_neighbours"),
        ({"max_tags": 0}, "max_tags"),
        ({"half_lives_ms": ()}, "half_lives_ms"),
        ({"window_weights": ()}, "window_weights"),
    ],
)
def test_a_catalogue_that_cannot_work_is_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        CatalogueLimits(**changes)  # type: ignore[arg-type]
