"""The protocol on logs small enough to compute by hand."""

import pytest

from evaluation.prequential import Contender, Prequential, Protocol, group_order
from models.fusion import FusionRanker
from stream.candidates import SOURCES
from stream.pipeline import Pipeline
from tests.evaluation.tiny_logs import (
    Event,
    decode,
    evaluate,
    network_trainer,
    small_pipeline,
    small_replay,
)


def test_popularity_by_hand() -> None:
    log = [
        Event("u1", "a", 1),  # Nothing is known: a miss.
        Event("u2", "a", 2),  # [a]: rank 1.
        Event("u1", "b", 3),  # [a]: b has no score, a miss.
        Event("u2", "b", 4),  # [a, b]: rank 2.
    ]
    outcome = evaluate(log, source="trending")
    assert outcome.ranks == [0.0, 1.0, 0.0, 2.0]
    assert outcome.tests.is_known == [False, True, False, True]
    assert outcome.tests.is_new_to_user == [False, True, False, True]
    assert outcome.tests.has_history == [False, False, True, True]
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
    assert allowed.tests.is_new_to_user == [False, False, False, True]


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
    assert outcome.tests.is_known == [False, False, False, True]


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
    assert outcome.tests.has_history == [False, False]
    assert outcome.tests.is_new_to_user == [False, True]


def test_the_order_of_arrival_does_not_matter() -> None:
    log = [Event("u1", "a", 1), Event("u2", "a", 2), Event("u1", "b", 3), Event("u2", "b", 4)]
    assert evaluate(log[::-1], source="trending").ranks == evaluate(log, source="trending").ranks


def test_neighbours_wait_for_the_interval_of_signals() -> None:
    log = [Event("u1", "a", 1), Event("u1", "b", 2), Event("u2", "a", 3), Event("u2", "b", 4)]
    assert evaluate(log, source="cooccurrence").ranks[-1] == 1.0
    assert evaluate(log, source="cooccurrence", interval_ms=60_000).ranks[-1] == 0.0


def test_contenders_side_by_side_answer_as_each_does_alone() -> None:
    log = [Event(f"u{at % 5}", f"i{at * 7 % 11}", at) for at in range(80)]
    replay, trainer = small_replay(), network_trainer()

    def alone(name: str) -> Pipeline:
        return small_pipeline(replay.engine, sources=(name,))

    contenders = [Contender(name=name, pipeline=alone(name)) for name in SOURCES]
    fusion = FusionRanker((1.0,) * len(SOURCES))
    contenders += [
        Contender(
            name="network", pipeline=replay.pipeline, ranker=trainer.scorer(), trainer=trainer
        ),
        Contender(name="fusion", pipeline=replay.pipeline, ranker=fusion),
    ]
    together = Prequential(replay, contenders, protocol=Protocol(warmup=0.1)).run(decode(log))
    assert [each.name for each in together] == [*SOURCES, "network", "fusion"]
    for each in together:
        source = each.name if each.name in SOURCES else None
        single = evaluate(log, source=source, learn=each.name == "network", warmup=0.1)
        assert each.summary() == single.summary(), each.name
        assert each.tests is together[0].tests


def test_cold_users_and_new_items_are_parts_of_the_tests() -> None:
    log = [Event(f"u{at}", "a", at) for at in range(8)] + [Event("u0", "b", 9)]
    summary = evaluate(log, source="trending").summary()
    assert summary["cold_users"]["tested"] == 8  # type: ignore[index]
    # The first six events on a found at most five before; so did the one on b.
    assert summary["new_items"]["tested"] == 7  # type: ignore[index]
    assert summary["new_items"]["hr@10"] == pytest.approx(5 / 7, abs=1e-6)  # type: ignore[index]
    assert summary["beyond_accuracy"]["lists"] == 9  # type: ignore[index]
    assert summary["beyond_accuracy"]["coverage"] == 0.5  # type: ignore[index]
