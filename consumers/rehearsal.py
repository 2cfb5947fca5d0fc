"""A rehearsal: made-up events through all steps on an engine of their own, before the group.

What runs for the first time is slow even when it is compiled: torch picks its kernels, allocators
ask the system for memory, caches are cold. The first real lists should not be the ones to wait.
"""

from __future__ import annotations

import logging
import time

from consumers.configuration import make_engine, make_pipeline
from models.ranking import Ranker
from stream.list_json import encode_lists
from stream.pipeline import Pipeline
from stream.replay import Replay
from stream.settings import Settings

logger = logging.getLogger(__name__)

_NUM_USERS = 64
_NUM_ITEMS = 256
_EVENTS_PER_USER = 12
_BEGIN_MS = 1_700_000_000_000
_ROUNDS = 2


def rehearse(settings: Settings, ranker: Ranker) -> Pipeline:
    """Fold a small log and make lists in batches of 1, 2, 4 ... users.

    Args:
        settings: The worker's; batches go up to its largest.
        ranker: The worker's own: what it warms stays warm.

    Returns:
        The pipeline rehearsed on, over an engine that nobody else knows.
    """
    started = time.monotonic()
    pipeline = make_pipeline(settings, make_engine(settings, partitions=1))
    max_batch = settings.refresh.max_batch
    replay = Replay(pipeline, signals_interval_ms=0)
    replay.feed(made_up_events())
    users = [b"u%d" % user for user in range(_NUM_USERS)]
    size = 1
    while size <= min(max_batch, _NUM_USERS):
        for _ in range(_ROUNDS):
            for partition in pipeline.engine.users:
                batch = pipeline.read_users(partition, users[:size], now_ms=replay.stream_time_ms)
                refresh = pipeline.retrieve(batch)
                scores = pipeline.score(refresh, ranker)
                encode_lists(
                    pipeline.rerank(
                        refresh, scores, model=ranker.name, model_sequence=ranker.sequence
                    )
                )
        size *= 2
    logger.info("rehearsed with %s in %.1f s", ranker.name, time.monotonic() - started)
    return pipeline


def made_up_events() -> list[bytes]:
    """Return a small log in which everybody watches a few things, each user in turn."""
    return [
        b'{"event_id":"e%d-%d","type":"watch","user_id":"u%d","item_id":"i%d","ts":%d,'
        b'"watch_ms":%d,"duration_ms":30000}'
        % (
            user,
            turn,
            user,
            (7 * user + 13 * turn) % _NUM_ITEMS,
            _BEGIN_MS + 60_000 * turn + user,
            3_000 * (turn % 11),
        )
        for turn in range(_EVENTS_PER_USER)
        for user in range(_NUM_USERS)
    ]
