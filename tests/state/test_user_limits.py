"""UserLimits refuses what cannot work, and says which setting."""

import pytest

from state.user_limits import UserLimits


@pytest.mark.parametrize(
    "setting",
    [
        {"max_users": 0},
        {"max_history": 256},
        {"seen_bits": 65},
        {"seen_bits": 0},
        {"min_completion": 1.1},
        {"grace_ms": -1},
        {"pair_tau_ms": 0},
        {"strength_like": 256},
        {"max_repeats_per_day": 16},
        {"hash_seed": 2**64},
    ],
)
def test_limits_that_cannot_work_are_refused_by_name(setting: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        UserLimits(**setting)
