"""A loss is made good at once; where keys are gone round after round, the look slows down."""

from __future__ import annotations

from consumers.loss_pace import LossPace


def rests_after(rounds: list[tuple[int, ...]], *, at_s: float = 0.1) -> bool:
    """Play rounds, each given as the losses of its looks; say whether the next look waits."""
    now_s = 0.0
    pace = LossPace(monotonic_s=lambda: now_s)
    for looks in rounds:
        for index, num_lost in enumerate(looks):
            pace.note(0, num_lost, is_end=index == len(looks) - 1)
    now_s = at_s
    assert not pace.rests(1)
    return pace.rests(0)


def test_a_redis_that_lost_its_keys_gets_them_back_at_once() -> None:
    assert not rests_after([(64, 64, 9)])
    assert not rests_after([(0, 0, 9), (64, 64, 0)])  # Lost amid a round.
    assert not rests_after([(0, 64, 9), (64, 64, 9), (64, 64, 0)])  # And again amid the next.


def test_where_keys_are_gone_round_after_round_each_look_waits() -> None:
    rounds = [(5, 0), (0, 5), (5, 5)]
    assert not rests_after(rounds)
    assert rests_after([*rounds, (5,)])
    assert not rests_after([*rounds, (5,)], at_s=2.1)
    assert not rests_after([*rounds, (0,), (5,)])  # A round without a loss.


def test_another_server_is_looked_at_at_once() -> None:
    now_s = 0.0
    pace = LossPace(monotonic_s=lambda: now_s)
    for _ in range(5):
        pace.note(0, 5, is_end=True)
    assert pace.rests(0)
    pace.start_anew()
    assert not pace.rests(0)
    pace.note(0, 5, is_end=True)
    assert not pace.rests(0)
