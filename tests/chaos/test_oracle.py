"""The engine's state equals the independent oracle's, integer by integer, for hard logs."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from kafka.partitioner import murmur2 as kafka_murmur2

from state.item_counts import NUM_COLUMNS
from state.item_limits import CatalogueLimits, ItemLimits
from state.pair_arena import LANES, NUM_LINES, OUT, START
from state.user_limits import UserLimits
from stream.engine import Engine
from stream.pipeline import Pipeline
from stream.replay import Replay
from stream.rerank import RerankLimits
from stream.sources import RetrievalLimits
from tests.chaos import hard_logs
from tests.chaos.comparison import check
from tests.chaos.frame_log import deduplicated, told_to
from tests.chaos.oracle import Oracle
from tests.chaos.oracle_records import (
    LogRecord,
    by_partition,
    murmur2,
    partition_of,
    read_interaction,
)
from tests.chaos.oracle_users import UserRules
from tests.stream import corpus
from tests.wire_logs import event

Log = Callable[[int], list[LogRecord]]
LOGS: list[Log] = [
    hard_logs.ordinary,
    hard_logs.simulated,
    hard_logs.poisoned,
    hard_logs.undecided,
    hard_logs.repeated,
    hard_logs.around_midnight,
    hard_logs.misrouted,
    hard_logs.holed,
]
every_log = pytest.mark.parametrize("log", LOGS, ids=lambda log: log.__name__)
every_count = pytest.mark.parametrize("num_partitions", [1, 4])
# Small tables are quick to make; nothing is to be evicted. A short history, so that rings turn.
RULES = UserRules(max_history=12, max_lags=4)
NEVER_MS = 2**62


def make_replay(num_partitions: int) -> Replay:
    engine = Engine(
        num_partitions=num_partitions,
        num_item_partitions=num_partitions,
        user_limits=UserLimits(
            max_users=4096,
            max_items=4096,
            max_event_ids=65_536,
            max_history=RULES.max_history,
            max_lags=RULES.max_lags,
        ),
        item_limits=ItemLimits(max_items=2048, max_ids=4096, max_pairs=262_144),
        catalogue_limits=CatalogueLimits(max_items=4096, dim=4, num_neighbours=4),
    )
    pipeline = Pipeline(engine, retrieval=RetrievalLimits(), reranking=RerankLimits())
    return Replay(pipeline, signals_interval_ms=NEVER_MS)


def play(records: list[LogRecord], num_partitions: int, *, seed: int) -> Engine:
    """Fold a log's partitions in random turns and cuts."""
    draw = random.Random(seed)
    replay = make_replay(num_partitions)
    parts = by_partition(records, num_partitions)
    while any(parts):
        number = draw.choice([each for each, part in enumerate(parts) if part])
        cut = draw.choice((1, 7, 100, 1_000))
        replay.fold_slab(hard_logs.slab_of(parts[number][:cut]))
        del parts[number][:cut]
    replay.finish()
    return replay.engine


@every_count
@every_log
def test_engine_equals_the_oracle(log: Log, num_partitions: int) -> None:
    records = log(num_partitions)
    oracle = Oracle(records, num_partitions=num_partitions, user_rules=RULES)
    check(play(records, num_partitions, seed=num_partitions), oracle)
    counters = oracle.counters()
    assert counters["applied"] > 300, "the log says little"
    assert sum(len(items.items) for items in oracle.items) > 5


@every_count
def test_a_fed_wire_log_equals_the_oracle(num_partitions: int) -> None:
    records = hard_logs.ordinary(num_partitions)
    replay = make_replay(num_partitions)
    replay.feed([record.value or b"" for record in hard_logs.ordinary(1)])
    check(replay.engine, Oracle(records, num_partitions=num_partitions, user_rules=RULES))


def test_a_copy_that_was_rejected_is_not_brought_home_once_more() -> None:
    """Its Kafka time is when it was copied; years before the event's, which the first one had."""
    home = partition_of(b"u1", 4)
    away, future_ms = (home + 1) % 4, 4_102_444_799_999
    value = event(0, ts=future_ms)
    header = ("headwater-from", b"%d/0" % away)
    log = [
        LogRecord(away, 0, value, timestamp_ms=future_ms),
        LogRecord(home, 0, value, timestamp_ms=1_700_000_000_000, headers=(header,)),
    ]
    for records in (log, log[:1]):
        engine = play(records, 4, seed=1)
        check(engine, Oracle(records, num_partitions=4, user_rules=RULES))
        applied = engine.users[home].tables.counters["applied"]
        assert applied == (len(records) == 1), "only where nobody copied it"


@every_count
@every_log
def test_frames_say_what_the_oracle_derives(log: Log, num_partitions: int) -> None:
    """As on a topic: frames of any cut, some of them twice."""
    records, draw = log(num_partitions), random.Random(1)
    frames: list[list[bytes]] = [[] for _ in range(num_partitions)]
    pipeline = make_replay(num_partitions).pipeline
    for part in by_partition(records, num_partitions):
        while part:
            cut = draw.choice((1, 30, 500))
            slab = hard_logs.slab_of(part[:cut])
            pipeline.engine.users[slab.partition].tables.next_offset = slab.begin  # Over a hole.
            for target, frame in pipeline.fold_interactions(slab).frames:
                frames[target] += [frame] * draw.choice((1, 1, 2))
            del part[:cut]
    oracle = Oracle(records, num_partitions=num_partitions, user_rules=RULES, bring_home=False)
    for target, sent in enumerate(frames):
        assert deduplicated(sent) == told_to(oracle.rows(), target, num_partitions)


def test_logs_hold_what_they_are_for() -> None:
    def count(log: Log) -> dict[str, int]:
        return Oracle(log(4), num_partitions=4, user_rules=RULES).counters()

    assert count(hard_logs.poisoned)["rejected"] > 500
    assert count(hard_logs.repeated)["duplicate"] > 50 < count(hard_logs.repeated)["late"]
    assert count(hard_logs.misrouted)["routed"] > 300
    undecided = Oracle(hard_logs.undecided(1), num_partitions=1, user_rules=RULES)
    assert len(undecided.users[0].erased) >= 3
    assert sum(row.count < 0 for row in undecided.rows()) > 30


@pytest.mark.parametrize("field", ["user_id", "event_id", "item_id"])
def test_the_longest_id_of_the_contract_is_folded(field: str) -> None:
    values = [
        event(0, **{field: "\U0001f600" * 63 + "a"}),
        event(1, **{field: "\U0001f600" * 64}),
    ]
    records = [LogRecord(0, offset, value) for offset, value in enumerate(values)]
    engine = play(records, 1, seed=0)
    check(engine, Oracle(records, num_partitions=1, user_rules=RULES))
    assert engine.counters()["rejected"] == 1


def test_murmur2_is_kafkas_own() -> None:
    for key in (each.encode() for each in hard_logs.ODD_IDS):
        assert murmur2(key) & 0x7FFFFFFF == kafka_murmur2(key) & 0x7FFFFFFF


def test_oracle_refuses_what_the_corpus_calls_bad() -> None:
    wrong = [
        case.name
        for case in corpus.cases()
        if (read_interaction(LogRecord(0, 0, case.value, timestamp_ms=case.kafka_timestamp_ms)))
        is None
        and case.expected is None
    ]
    assert not wrong


@pytest.mark.parametrize("change", ["a strength", "a count", "a pair", "a counter", "an id"])
def test_one_wrong_integer_is_noticed(change: str) -> None:
    records = hard_logs.undecided(1)
    engine = play(records, 1, seed=0)
    oracle = Oracle(records, num_partitions=1, user_rules=RULES)
    tables, items = engine.users[0].tables, engine.items[0]
    if change == "a strength":
        row = tables.users.live_rows()[0]
        tables._tables.history.strengths[row, 0] += 1
    elif change == "a count":
        items.counts._tiles[items.live_rows()[0], -NUM_COLUMNS * 30 :] += 1
    elif change == "a pair":
        header = items.pairs.headers[items.live_rows()[0]]
        line = header[header[:, NUM_LINES] > 0][-1][START]
        items.pairs.lines[line, OUT : OUT + LANES] += items.pairs.lines[line, :LANES] > 0
    elif change == "a counter":
        tables._tables.counters[1] += 1
    else:
        tables._tables.event_ids.columns.times_ms[:] += 1
    with pytest.raises(AssertionError):
        check(engine, oracle)
