"""UserBatch of known and cold users."""

import numpy as np

from consumers.configuration import load_settings, make_engine, make_pipeline
from stream.replay import Replay
from tests.wire_logs import START_MS, event


def replayed(lines):
    settings = load_settings()
    pipeline = make_pipeline(settings, make_engine(settings, partitions=1))
    replay = Replay(pipeline, signals_interval_ms=1000)
    if lines:
        replay.feed(lines)
    return pipeline


def test_an_empty_partition_has_only_cold_users():
    users = replayed([]).read_users(0, [b"a", b"b"], now_ms=START_MS)
    assert users.user_rows.tolist() == [-1, -1]
    assert users.history_lengths.tolist() == [0, 0]


def test_a_cold_user_beside_a_known_one_has_nothing_of_his():
    pipeline = replayed([event(0, user_id="known", item_id="i", type="like")])
    users = pipeline.read_users(0, [b"nobody", b"known"], now_ms=START_MS)
    assert users.user_rows.tolist() == [-1, 0]
    assert users.history_lengths.tolist() == [0, 1]
    assert users.history_rows[0].max() == -1
    assert not users.session_vectors[0].any()
    assert users.session_vectors[1].any()
    assert not users.seen_words[0].any()


def test_a_cold_user_gets_trending_and_fresh():
    pipeline = replayed([event(n, user_id=f"u{n}", item_id=f"i{n % 7}") for n in range(50)])
    users = pipeline.read_users(0, [b"new"], now_ms=START_MS + 60_000)
    candidates = pipeline.retrieve(users).candidates
    assert len(candidates) == 7
    proposed = np.flatnonzero(candidates.ranks.any(axis=0)).tolist()
    assert proposed == [5, 6]
