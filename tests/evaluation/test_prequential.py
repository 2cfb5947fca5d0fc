"""The protocol on logs small enough to compute by hand, and its two leakage tests."""

import json

import numpy as np
import pytest

from evaluation.prequential import group_order
from tests.evaluation.tiny_logs import START_MS, Event, decode, evaluate


def test_popularity_by_hand() -> None:
    log = [
        Event("u1", "a", 1),  # Nothing is known: a miss.
        Event("u2", "a", 2),  # [a]: rank 1.
        Event("u1", "b", 3),  # [a]: b has no score, a miss.
        Event("u2", "b", 4),  # [a, b]: rank 2.
    ]
    outcome = evaluate(log, source="trending")
    assert outcome.ranks == [0.0, 1.0, 0.0, 2.0]
    assert outcome.is_known == [False, True, False, True]
    assert outcome.is_new_to_user == [False, True, False, True]
    assert outcome.has_history == [False, False, True, True]
    summary = outcome.summary()
    assert summary["tested"] == 4
    assert summary["hr@10"] == 0.5
    assert summary["ndcg@10"] == pytest.approx((1 + 0.6309298) / 4, abs=1e-6)
    assert summary["mrr@20"] == 0.375
    assert summary["known_targets"]["hr@10"] == 1.0  # type: ignore[index]
    assert summary["users_with_history"]["mrr@20"] == 0.25  # type: ignore[index]
    assert len(summary["by_decile"]) == 10  # type: ignore[arg-type]


def test_co_occurrence_follows_the_order_of_the_log() -> None:
    log = [
        Event("u1", "a", 1), Event("u1", "b", 2), Event("u1", "c", 3),
        Event("u2", "a", 4), Event("u2", "b", 5),  # a -> b (lag 1) before a -> c (lag 2).
        Event("u3", "b", 6), Event("u3", "a", 7),  # One way, b -> a is no pair.
    ]  # fmt: skip
    assert evaluate(log, source="cooccurrence").ranks == [0.0] * 4 + [1.0, 0.0, 0.0]
    # Two ways from b: c by b -> c once (lag 1), a by a -> b twice.
    assert evaluate(log, source="cooccurrence-two-way").ranks[-1] == 1.0


def test_ties_count_half() -> None:
    log = [Event("u1", "a", 1), Event("u2", "b", 1), Event("u3", "a", 2), Event("u4", "b", 2)]
    assert evaluate(log, source="trending").ranks[2] == 1.5


def test_own_items_are_candidates_only_where_repeats_are_allowed() -> None:
    log = [Event("u1", "a", 1), Event("u2", "b", 2), Event("u1", "a", 3), Event("u1", "b", 4)]
    allowed = evaluate(log, source="trending")
    excluded = evaluate(log, source="trending", allow_repeats=False)
    assert allowed.ranks[2] > 0
    assert excluded.ranks[2:] == [0.0, 1.0]
    assert allowed.is_new_to_user == [False, False, False, True]


def test_groups_of_one_user_and_time_stand_at_their_first_event() -> None:
    log = [
        Event("u1", "z", 5), Event("u1", "a", 1), Event("u2", "c", 1), Event("u1", "b", 1),
        Event("u2", "d", 1), Event("u1", "y", 5),
    ]  # fmt: skip
    order, groups = group_order(decode(log))
    assert order.tolist() == [1, 3, 2, 4, 0, 5]
    assert groups.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_group_is_tested_before_any_of_it_is_learned() -> None:
    log = [Event("u1", "a", 1), Event("u1", "b", 2), Event("u1", "b", 2), Event("u1", "a", 2)]
    outcome = evaluate(log, source="recent")
    assert outcome.ranks == [0.0, 0.0, 0.0, 1.0]
    assert outcome.is_known == [False, False, False, True]


def test_the_warm_up_only_learns_and_every_kth_is_tested() -> None:
    log = [Event("u1", "a", at) for at in range(20)]
    assert len(evaluate(log, source="recent", warmup=0.25).ranks) == 15
    tested = evaluate(log, source="recent", warmup=0.25, every=4)
    assert tested.ranks == [1.0] * 4


def test_what_is_no_wish_is_learned_and_not_tested() -> None:
    log = [
        Event("u1", "a", 1), Event("u1", "b", 2, "not_interested"), Event("u1", "a", 3, "follow"),
        Event("u1", "a", 4, "unlike"), Event("u1", "", 5, "erase"), Event("u1", "a", 6, "like"),
    ]  # fmt: skip
    outcome = evaluate(log, source="recent")
    assert len(outcome.ranks) == 2
    # After the erase the user starts anew.
    assert outcome.has_history == [False, False]
    assert outcome.is_new_to_user == [False, True]


def test_the_order_of_arrival_does_not_matter() -> None:
    log = [Event("u1", "a", 1), Event("u2", "a", 2), Event("u1", "b", 3), Event("u2", "b", 4)]
    assert evaluate(log[::-1], source="trending").ranks == evaluate(log, source="trending").ranks


def test_neighbours_wait_for_the_interval_of_signals() -> None:
    log = [Event("u1", "a", 1), Event("u1", "b", 2), Event("u2", "a", 3), Event("u2", "b", 4)]
    assert evaluate(log, source="cooccurrence").ranks[-1] == 1.0
    assert evaluate(log, source="cooccurrence", interval_ms=60_000).ranks[-1] == 0.0


def busy_log(seed: int = 0, num_events: int = 160) -> list[Event]:
    """Return a log with repeats, equal times and several types."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, num_events * 2, num_events)).tolist()
    return [
        Event(f"u{random.integers(8)}", f"i{random.integers(20)}", at,
              str(random.choice(["watch", "like", "share"])))
        for at in times
    ]  # fmt: skip


@pytest.mark.parametrize("learn", [False, True], ids=["fusion", "network"])
def test_shuffling_the_future_changes_no_list_of_the_past(learn: bool) -> None:
    log = busy_log()
    cut = len(log) // 2
    while log[cut].at == log[cut - 1].at:  # Groups are tested whole.
        cut += 1
    random = np.random.default_rng(1)
    future = [log[place] for place in cut + random.permutation(len(log) - cut)]
    times = sorted(event.at for event in future)
    shuffled = [event._replace(at=at) for event, at in zip(future, times, strict=True)]
    seen: list[list[tuple[object, ...]]] = []
    for each in (log, log[:cut] + shuffled):
        lists: list[tuple[object, ...]] = []
        # The last state of the past is tested too: by the first event of the future.
        evaluate(each, learn=learn, on_list=lambda *found, into=lists: into.append(found))
        moment = START_MS + log[cut].at * 1000
        seen.append([found for found in lists if found[1] < moment])  # type: ignore[operator]
    assert seen[0] == seen[1]
    assert len(seen[0]) > 40


@pytest.mark.parametrize("learn", [False, True], ids=["fusion", "network"])
def test_a_canary_is_never_recommended_before_it_appears(learn: bool) -> None:
    log = busy_log(seed=3, num_events=120)
    end = log[-1].at + 10
    log += [Event("u1", "canary", end), Event("u2", "canary", end + 1), Event("u3", "i1", end + 2)]
    canary = {
        "item_id": "canary", "author_id": "x", "created_at": START_MS, "ts": START_MS + end * 1000,
    }  # fmt: skip
    when: list[int] = []

    def note(_: bytes, now_ms: int, items: list[bytes], __: list[float]) -> None:
        if b"canary" in items:
            when.append(now_ms)

    evaluate(log, learn=learn, items=[json.dumps(canary).encode()], on_list=note)
    assert when
    assert min(when) >= START_MS + end * 1000
