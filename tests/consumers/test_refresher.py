"""What changed between retrieval and slate: the batch is retrieved anew, or given up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from consumers.configuration import load_settings, make_engine, make_fusion, make_pipeline
from consumers.refresher import Refresher
from consumers.rehearsal import made_up_events
from stream.dirty_users import RefreshBatch
from stream.replay import Replay
from tests.wire_logs import event


def refresher_and_batch() -> tuple[Replay, Refresher, RefreshBatch]:
    settings = load_settings()
    replay = Replay(
        make_pipeline(settings, make_engine(settings, partitions=1)), signals_interval_ms=0
    )
    replay.feed(made_up_events())
    refresher = Refresher(
        pipeline=replay.pipeline,
        ranker=make_fusion(settings),
        fallback=make_fusion(settings),
        state_executor=ThreadPoolExecutor(1),
    )
    row = replay.engine.users[0].tables.users.row_of(b"u3")
    batch = RefreshBatch(
        partition=0,
        user_rows=np.array([row], np.int32),
        user_ids=(b"u3",),
        slots=np.zeros(1, np.int64),
        tickets=np.zeros(1, np.int64),
        taken_ms=0,
    )
    return replay, refresher, batch


def test_list_of_a_user_erased_meanwhile_keeps_a_version_that_the_tombstone_refuses() -> None:
    replay, refresher, batch = refresher_and_batch()
    retrieved = refresher.retrieve(batch)
    assert retrieved is not None and retrieved.work is not None
    erased_at = replay.engine.users[0].tables.next_offset
    replay.feed([event(1, event_id="erase", user_id="u3", type="erase", ts=replay.stream_time_ms)])
    replay.engine.catalogue.epoch += 1
    lists = refresher.score(retrieved.work)
    assert lists is not None
    assert lists.next_offset <= erased_at < replay.engine.users[0].tables.next_offset


def test_batch_of_a_partition_that_moved_away_meanwhile_gives_no_lists() -> None:
    replay, refresher, batch = refresher_and_batch()
    retrieved = refresher.retrieve(batch)
    assert retrieved is not None and retrieved.work is not None
    replay.engine.catalogue.epoch += 1
    del replay.engine.users[0]
    assert refresher.score(retrieved.work) is None
