"""Lists that are gone from Redis are written again, for everybody and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from consumers.configuration import make_engine, make_pipeline
from consumers.lost_lists import LostLists
from consumers.state_thread import WorkThread
from stream.dirty_users import DirtyUsers
from stream.refresh_queue import RefreshQueue
from stream.replay import Replay
from stream.settings import Settings
from tests.wire_logs import event

NUM_USERS = 200
DAY_MS = 86_400_000


def looked_up(
    *, has_list: bool | None, num_waiting: int = 0, ttl_ms: int = 30 * DAY_MS
) -> set[bytes]:
    """Return who was marked after a Redis with all lists, none or no answer was looked at."""
    settings = Settings()
    engine = make_engine(settings, partitions=1)
    lines = [event(number, user_id=f"u{number}") for number in range(NUM_USERS)]
    lines.append(event(NUM_USERS, user_id="late", ts=1_700_000_000_000 + 2 * DAY_MS))
    Replay(make_pipeline(settings, engine), signals_interval_ms=0).feed(lines)
    queue = RefreshQueue(max_users=1000)
    marked: list[bytes] = []

    def mark(users: DirtyUsers) -> None:
        marked.extend(users.user_ids)

    async def count_missing(user_ids: Sequence[bytes]) -> int | None:
        return None if has_list is None else 0 if has_list else len(user_ids)

    async def run() -> None:
        thread = WorkThread("state")
        lists = LostLists(
            engine=engine,
            state=thread,
            queue=queue,
            mark=mark,
            count_missing=count_missing,
            is_caught_up=lambda partition: True,
            ttl_ms=ttl_ms,
            interval_s=0.0,
        )
        if num_waiting:
            found = lists._users_from(0, 0, num_waiting)
            assert found is not None
            queue.offer(found[0], 0)
        if await lists._is_lost(0):
            await lists._rebuild(0)
        thread.close()

    asyncio.run(run())
    assert len(marked) == len(set(marked))
    return set(marked)


def test_an_empty_redis_gets_everybody_again() -> None:
    assert looked_up(has_list=False) == {b"late", *(b"u%d" % n for n in range(NUM_USERS))}


@pytest.mark.parametrize("has_list", [True, None])
def test_nobody_is_marked_where_lists_are_there_or_redis_does_not_answer(
    has_list: bool | None,
) -> None:
    assert looked_up(has_list=has_list) == set()


def test_who_waits_for_a_list_is_not_missed() -> None:
    assert looked_up(has_list=False, num_waiting=20) == set()


def test_who_was_seen_before_the_life_of_a_list_needs_none() -> None:
    assert looked_up(has_list=False, ttl_ms=DAY_MS) == set()


def test_each_look_goes_on_where_the_last_one_ended() -> None:
    settings = Settings()
    engine = make_engine(settings, partitions=1)
    lines = [event(number, user_id=f"u{number}") for number in range(40)]
    Replay(make_pipeline(settings, engine), signals_interval_ms=0).feed(lines)
    looked: list[bytes] = []

    async def count_missing(user_ids: Sequence[bytes]) -> int | None:
        looked.extend(user_ids)
        return 0

    async def run() -> None:
        thread = WorkThread("state")
        lists = LostLists(
            engine=engine,
            state=thread,
            queue=RefreshQueue(max_users=10),
            mark=lambda users: None,
            count_missing=count_missing,
            is_caught_up=lambda partition: True,
            ttl_ms=DAY_MS,
            interval_s=0.0,
        )
        for _ in range(4):
            assert not await lists._is_lost(0)
        thread.close()

    asyncio.run(run())
    assert set(looked[:40]) == {b"u%d" % n for n in range(40)} and looked[40:] == looked[:16]
