import asyncio
import threading
import time

from consumers.watchdog import Activity, ProgressJudge, Watchdog


def activity(position, pending, name="interactions/0", excuse=None):
    return Activity(name=name, position=position, pending=pending, excuse=excuse)


def test_standing_still_with_lag_is_a_reason():
    judge = ProgressJudge(limit_ms=100)
    assert judge.observe([activity(5, 10)], 0) == []
    assert judge.observe([activity(5, 12)], 99) == []
    (reason,) = judge.observe([activity(5, 12)], 100)
    assert reason.startswith("interactions/0: no progress beyond 5")


def test_any_progress_starts_the_clock_anew():
    judge = ProgressJudge(limit_ms=100)
    for now_ms in range(0, 1_000, 90):
        assert judge.observe([activity(now_ms, 10)], now_ms) == []


def test_going_back_is_progress_too():
    """A restored partition starts lower: it moved."""
    judge = ProgressJudge(limit_ms=100)
    judge.observe([activity(50, 10)], 0)
    assert judge.observe([activity(20, 40)], 100) == []


def test_without_lag_rest_is_fine_and_the_clock_starts_with_the_work():
    judge = ProgressJudge(limit_ms=100)
    judge.observe([activity(5, 0)], 0)
    assert judge.observe([activity(5, 0)], 5_000) == []
    assert judge.observe([activity(5, 1)], 5_050) == []
    assert judge.observe([activity(5, 1)], 5_100) != []


def test_an_excuse_stops_the_clock():
    judge = ProgressJudge(limit_ms=100)
    judge.observe([activity(5, 9)], 0)
    assert judge.observe([activity(5, 9, excuse="Redis is away")], 500) == []
    assert judge.observe([activity(5, 9)], 599) == []
    assert judge.observe([activity(5, 9)], 600) != []


def test_each_activity_has_its_own_clock_and_those_gone_are_forgotten():
    judge = ProgressJudge(limit_ms=100)
    judge.observe([activity(1, 1, "a"), activity(1, 1, "b")], 0)
    reasons = judge.observe([activity(1, 1, "a"), activity(2, 1, "b")], 100)
    assert [reason[:2] for reason in reasons] == ["a:"]
    judge.observe([activity(2, 1, "b")], 110)
    assert judge.observe([activity(1, 1, "a"), activity(3, 1, "b")], 300) == []


def test_the_shell_ends_the_worker_once_with_the_reason():
    ended = []
    clock = iter(range(0, 100_000, 50))

    async def run():
        watchdog = Watchdog(
            probe=lambda: [activity(1, 1)],
            end=ended.append,
            limit_ms=200,
            sample_ms=1,
            monotonic_ms=lambda: next(clock),
        )
        await watchdog.run()
        return watchdog.why_stuck()

    reasons = asyncio.run(run())
    assert len(ended) == 1
    assert ended == ["; ".join(reasons)] or "event loop" in ended[0]


def test_a_loop_that_hangs_is_noticed_from_a_thread():
    noticed = threading.Event()
    reasons = []

    def end(reason):
        reasons.append(reason)
        noticed.set()

    async def run():
        watchdog = Watchdog(probe=lambda: [], end=end, limit_ms=20, sample_ms=5)
        task = asyncio.create_task(watchdog.run())
        await asyncio.sleep(0)
        noticed.wait(10)  # Blocks the event loop, as a bug would.
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert "event loop" in reasons[0]


def test_the_thread_ends_with_the_task():
    async def run():
        watchdog = Watchdog(probe=lambda: [], end=lambda reason: None, limit_ms=1_000, sample_ms=1)
        task = asyncio.create_task(watchdog.run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    deadline = time.monotonic() + 5
    while any(thread.name == "watchdog" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
