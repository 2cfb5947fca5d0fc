"""Lists that stay older than those in Redis are told of once; single ones are not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from consumers.sink_replies import Reply, WriteReport
from consumers.told_write import ToldWrite
from stream.candidates import RecommendationBatch
from tests.consumers.test_group_session import lists_of

OLDER, TAKEN = Reply.STALE, Reply.ACCEPTED


def play(batches: Sequence[tuple[float, Sequence[Reply]]]) -> list[WriteReport]:
    """Write batches, given as (time in s, replies of Redis)."""
    now_s = 0.0
    replies: Sequence[Reply] = ()

    async def write(batch: RecommendationBatch, *, generated_at_ms: int) -> WriteReport:
        return WriteReport.of(replies)

    told = ToldWrite(write, monotonic_s=lambda: now_s)
    reports = []
    for now_s, replies in batches:  # noqa: B007 (the two above read them)
        reports.append(asyncio.run(told(lists_of(1), generated_at_ms=1)))
    return reports


def test_lists_that_stay_older_for_long_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    reports = play([(second, [OLDER, OLDER, TAKEN]) for second in range(40)])
    (told,) = caplog.records
    assert told.levelname == "ERROR" and "Raise HEADWATER_EPOCH" in told.message
    assert all(report.counts == {"stale": 2, "accepted": 1} for report in reports)


@pytest.mark.parametrize(
    "batches",
    [
        [(second, [OLDER] * 9) for second in range(14)],
        [(10.0 * number, [OLDER] if number % 2 else [TAKEN]) for number in range(9)],
        [(10.0 * number, [OLDER, TAKEN, TAKEN]) for number in range(9)],
        [(10.0 * number, [Reply.BLOCKED, Reply.OOM]) for number in range(9)],
    ],
    ids=["for a short time", "now and then", "a few of many", "other answers"],
)
def test_what_passes_is_not_told_of(
    batches: list[tuple[float, list[Reply]]], caplog: pytest.LogCaptureFixture
) -> None:
    play(batches)
    assert not caplog.records
