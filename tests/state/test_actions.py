"""Action codes equal the wire's; completion and strength by example."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import actions
from state.actions import ACTION_NAMES, completion_of, strength_of
from state.user_limits import UserLimits
from stream.events import Action


def test_codes_equal_the_wires() -> None:
    assert [action.name for action in Action] == [name.upper() for name in ACTION_NAMES]
    for action in Action:
        assert getattr(actions, action.name) == action.value
        assert ACTION_NAMES[action.value] == action.name.lower()


@given(watch=st.integers(-1, 2**60), duration=st.integers(-1, 2**60))
@settings(deadline=None, max_examples=200)
def test_completion_is_the_watched_share_in_255_parts(watch: int, duration: int) -> None:
    completion = completion_of(watch, duration)

    if watch <= 0 or duration <= 0:
        assert completion == 0
    else:
        exact = min(255, 255 * watch // duration)
        assert completion == exact if duration < 2**54 else abs(completion - exact) <= 1


@pytest.mark.parametrize(("watch_ms", "strength"), [(19_999, 0), (20_000, 1), (999_999, 1)])
def test_a_watch_counts_from_its_threshold_on(watch_ms: int, strength: int) -> None:
    #  [0 ------ 0.2 of 100 s)[strong ------
    rules = UserLimits(min_completion=0.2).rules()
    completion = completion_of(watch_ms, 100_000)
    got = strength_of(actions.WATCH, completion, rules.strengths, rules.min_completion)
    assert got == strength
