"""Each item of a catalogue has a verdict that the list bears out; scores add up to their terms."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from consumers.configuration import (
    load_settings,
    make_answers,
    make_engine,
    make_fusion,
    make_pipeline,
)
from models.errors import ScoringFailed
from models.network import NetworkConfig, RankingNetwork
from models.ranking import Ranker, RankerScores, RankingInputs
from models.scorer import TorchScorer
from models.weights import NetworkWeights
from stream.announcements import Announcements
from stream.answers import StateAnswers
from stream.errors import PartitionElsewhere
from stream.pipeline import Pipeline
from stream.replay import Replay
from tests.wire_logs import START_MS, event, wire_log

SMALL = (
    "users.max_users=500",
    "users.max_items=500",
    "users.max_event_ids=5000",
    "items.max_items=500",
    "items.max_ids=1000",
    "items.max_pairs=65536",
    "catalogue.max_items=500",
    "catalogue.dim=16",
    "ranking.slate_size=10",
)
ABSENT = {
    *("unknown_item", "removed", "hidden", "not_interested", "seen", "not_proposed"),
    *("beyond_source_bound", "cut_from_candidates", "unscored", "author_cap", "below_cut"),
}


def announced(item_id: str, **more: Any) -> bytes:
    fields = {"item_id": item_id, "author_id": f"by-{item_id}", "created_at": START_MS}
    return json.dumps(fields | more).encode()


def replayed(
    *overrides: str, log: list[bytes] | None = None, items: list[bytes] | None = None
) -> Pipeline:
    settings = load_settings([*SMALL, *overrides])
    pipeline = make_pipeline(settings, make_engine(settings, partitions=1))
    replay = Replay(
        pipeline,
        signals_interval_ms=1000,
        announcements=Announcements(items) if items is not None else None,
    )
    replay.feed(log if log is not None else wire_log(1500))
    replay.publish_signals()
    return pipeline


def answers(
    *overrides: str,
    log: list[bytes] | None = None,
    items: list[bytes] | None = None,
    ranker: Ranker | None = None,
) -> StateAnswers:
    settings = load_settings([*SMALL, *overrides])
    pipeline = replayed(*overrides, log=log, items=items)
    return make_answers(settings, pipeline, ranker or make_fusion(settings))


def network() -> TorchScorer:
    return TorchScorer(NetworkWeights.of_network(RankingNetwork(NetworkConfig(dim=16))))


def test_the_list_explained_is_the_pipelines_own() -> None:
    settings = load_settings(SMALL)
    pipeline = replayed()
    fusion = make_fusion(settings)
    shard = pipeline.engine.users[0]
    users = pipeline.read_users(0, [b"u1"], now_ms=shard.tables.stream_time_ms)
    refresh = pipeline.retrieve(users)
    scores = pipeline.score(refresh, fusion)
    lists = pipeline.rerank(refresh, scores, model="fusion", model_sequence=0)
    asked = make_answers(settings, pipeline, fusion)
    assert [each["id"].encode() for each in asked.list_now(b"u1")["items"]] == [*lists.item_ids]
    for place, item_id in enumerate(lists.item_ids):
        answer = asked.explain(b"u1", item_id)
        assert (answer["verdict"], answer["reranking"]["place"]) == ("in_list", place + 1)
        assert answer["ranking"]["score"] == pytest.approx(float(lists.scores[place]), abs=1e-6)


@pytest.mark.parametrize("user", ["u1", "u7", "nobody"])
def test_every_item_has_a_verdict_and_those_in_the_list_are_the_list(user: str) -> None:
    asked = answers(items=[announced("i3", author_id="x"), announced("gone", status="removed")])
    listed = {each["id"] for each in asked.list_now(user.encode())["items"]}
    found = {}
    for item_id in [*(f"i{number}" for number in range(60)), "gone", "never"]:
        found[item_id] = asked.explain(user.encode(), item_id.encode())["verdict"]
    assert {item_id for item_id, verdict in found.items() if verdict == "in_list"} == listed
    assert set(found.values()) - {"in_list"} <= ABSENT
    assert found["never"] == "unknown_item"


@pytest.mark.parametrize("kind", ["fusion", "network"])
def test_a_score_is_the_sum_of_its_terms(kind: str) -> None:
    asked = answers(ranker=network() if kind == "network" else None)
    for each in asked.list_now(b"u1")["items"]:
        ranking = asked.explain(b"u1", each["id"].encode())["ranking"]
        total = sum(term["factor"] * term["weight"] for term in ranking["terms"])
        assert total == pytest.approx(ranking["score"], abs=2e-5)
        names = [term["name"] for term in ranking["terms"]]
        if kind == "network":
            assert names == ["completion", "like", "comment", "share", "not_interested"]
        else:
            assert set(names) <= set(each["sources"])


def test_value_is_relevance_less_what_reranking_took() -> None:
    items = [announced(f"i{number}", author_id=f"a{number % 9}") for number in range(60)]
    asked = answers("ranking.max_per_author=0", "ranking.repeats=allow", items=items)
    explained = [
        asked.explain(b"u1", each["id"].encode()) for each in asked.list_now(b"u1")["items"]
    ]
    moved = [each for each in explained if not each["reranking"]["is_explored"]]
    assert any(each["reranking"]["same_author_above"] for each in moved)
    # Scores of fusion are at least 0: relevance is the share of the best candidate's score.
    bests = []
    for each in moved:
        reranking = each["reranking"]
        unblocked = reranking["relevance"] / reranking["blocked_author_factor"]
        bests.append(each["ranking"]["score"] / unblocked)
    assert max(bests) - min(bests) < 1e-3


def test_sources_say_rank_score_and_share_of_the_best() -> None:
    asked = answers()
    first = asked.list_now(b"u1")["items"][0]
    answer = asked.explain(b"u1", first["id"].encode())
    assert sorted(each["source"] for each in answer["sources"]) == sorted(first["sources"])
    for each in answer["sources"]:
        assert each["rank"] >= 1
        if each["rank"] == 1:
            assert each["share_of_best"] == pytest.approx(1.0, abs=1e-5)
    assert answer["features"]["sources_share"] == pytest.approx(len(first["sources"]) / 7, abs=1e-5)


def lone_world() -> list[bytes]:
    """One user with a history, others whose items follow each other."""
    lines = [event(0, user_id="ann", item_id="a"), event(1, user_id="ann", item_id="b")]
    for index in range(2, 40):
        lines.append(event(index, user_id=f"o{index % 5}", item_id=f"c{index % 12}"))
    return lines


def verdict(asked: StateAnswers, item_id: str, user: str = "ann") -> dict[str, Any]:
    return asked.explain(user.encode(), item_id.encode())


def test_what_was_consumed_is_seen_and_may_be_repeated_where_that_is_set() -> None:
    assert verdict(answers(log=lone_world()), "a")["verdict"] == "seen"
    repeated = verdict(answers("ranking.repeats=allow", log=lone_world()), "a")
    assert repeated["verdict"] == "in_list"


def test_what_the_history_forgot_the_seen_filter_remembers() -> None:
    lines = [event(index, user_id="ann", item_id=f"d{index}") for index in range(12)]
    asked = answers("users.max_history=4", log=lines)
    assert verdict(asked, "d11")["verdict"] == "seen"
    forgotten = verdict(asked, "d2")
    assert forgotten["verdict"] == "seen" and "filter" in forgotten["reason"]


def test_not_interested_blocks_even_where_repeats_are_allowed() -> None:
    lines = [*lone_world(), event(90, user_id="ann", item_id="c3", type="not_interested")]
    for repeats in ("allow", "exclude"):
        asked = answers(f"ranking.repeats={repeats}", log=lines)
        assert verdict(asked, "c3")["verdict"] == "not_interested"


def test_an_author_with_a_blocked_item_counts_less() -> None:
    lines = [*lone_world(), event(90, user_id="ann", item_id="c3", type="not_interested")]
    items = [announced("c3", author_id="x"), announced("c4", author_id="x")]
    asked = answers("ranking.slate_size=50", log=lines, items=items)
    factors = [
        verdict(asked, item_id)["reranking"]["blocked_author_factor"] for item_id in ("c4", "c5")
    ]
    assert factors == [0.25, 1.0]


def test_withdrawn_and_hidden_items_say_so() -> None:
    items = [
        announced("c1"),
        announced("c1", ts=START_MS + 2, status="removed"),
        announced("c2", status="hidden"),
    ]
    asked = answers(log=lone_world(), items=items)
    assert verdict(asked, "c1")["verdict"] == "removed"
    assert verdict(asked, "c2")["verdict"] == "hidden"


def test_an_authors_cap_names_the_authors_items_in_the_list() -> None:
    items = [announced(f"c{number}", author_id="same") for number in range(12)]
    asked = answers("ranking.max_per_author=2", log=lone_world(), items=items)
    verdicts = [verdict(asked, f"c{number}") for number in range(12)]
    capped = [each for each in verdicts if each["verdict"] == "author_cap"]
    assert len(capped) >= 9
    assert all(each["same_author_in_list"] == 2 for each in capped)
    assert sum(each["verdict"] == "in_list" for each in verdicts) == 2


def test_below_the_cut_names_rank_and_lowest_score() -> None:
    asked = answers("ranking.slate_size=3", log=lone_world())
    cut = [each for each in (verdict(asked, f"c{n}") for n in range(12))
           if each["verdict"] == "below_cut"]  # fmt: skip
    assert len(cut) >= 8
    for each in cut:
        assert f"ranked {each['ranking']['rank']} of" in each["reason"]
        assert each["list"]["size"] == 3


def test_what_is_proposed_beyond_the_bounds_says_where_it_stands() -> None:
    tight = answers("retrieval.max_per_source=2", log=lone_world())
    found = [verdict(tight, f"c{number}") for number in range(12)]
    beyond = [each for each in found if each["verdict"] == "beyond_source_bound"]
    assert beyond and all(min(each["would_rank"].values()) > 2 for each in beyond)
    few = answers("retrieval.max_candidates=4", "ranking.slate_size=2", log=lone_world())
    found = [verdict(few, f"c{number}") for number in range(12)]
    cut = [each for each in found if each["verdict"] == "cut_from_candidates"]
    assert len(cut) >= 8 and all(each["would_rank"] for each in cut)


def test_what_no_source_proposes_is_not_proposed() -> None:
    settings = load_settings([*SMALL])
    engine = make_engine(settings, partitions=1)
    pipeline = make_pipeline(settings, engine, sources=("cooccurrence",))
    replay = Replay(pipeline, signals_interval_ms=1000)
    replay.feed(lone_world())
    replay.publish_signals()
    asked = StateAnswers(
        pipeline,
        ranker=make_fusion(settings),
        fallback=make_fusion(settings),
        retrieval=pipeline._retrieval,
        reranking=pipeline._reranking,
    )
    answer = verdict(asked, "c3")
    assert (answer["verdict"], answer["would_rank"]) == ("not_proposed", {})
    assert answer["sources"] == [] and answer["ranking"] == {}


class Broken:
    """A network that fails, as a real one says it."""

    name, sequence = "network-broken", 7

    def score(self, inputs: RankingInputs) -> RankerScores:
        message = "expected finite scores"
        raise ScoringFailed(message)


def test_where_the_network_fails_fusion_is_explained() -> None:
    asked = answers(log=lone_world(), ranker=Broken())
    assert verdict(asked, "c3")["model"] == "fusion"
    assert asked.list_now(b"ann")["model"] == "fusion"


def test_another_workers_user_names_the_partition() -> None:
    settings = load_settings(SMALL)
    engine = make_engine(settings, partitions=4)
    engine.open_users(1)
    pipeline = make_pipeline(settings, engine)
    asked = make_answers(settings, pipeline, make_fusion(settings))
    with pytest.raises(
        PartitionElsewhere, match="partition 2 of interactions, this worker holds 1"
    ):
        asked.explain(b"foobar", b"i1")
    with pytest.raises(PartitionElsewhere, match="partition 2"):
        asked.inspect_user(b"foobar")


def test_answers_are_json_and_change_nothing() -> None:
    pipeline = replayed()
    settings = load_settings(SMALL)
    asked = make_answers(settings, pipeline, make_fusion(settings))
    before = {name: np.array(each) for name, each in pipeline.engine.users[0].arrays().items()}
    first = json.dumps(asked.explain(b"u1", b"i1"))
    json.dumps(asked.inspect_user(b"u1"))
    json.dumps(asked.inspect_item(b"i1"))
    assert json.dumps(asked.explain(b"u1", b"i1")) == first
    for name, each in pipeline.engine.users[0].arrays().items():
        assert np.array_equal(before[name], each, equal_nan=each.dtype.kind == "f"), name
