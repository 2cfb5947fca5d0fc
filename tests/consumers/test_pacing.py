"""When records are due, told without waiting for them."""

import asyncio

import pytest

from consumers.pacing import Pace
from consumers.produce_report import Record


def records(*times_ms: int) -> list[Record]:
    return [(time_ms, "interactions", b"u", b"{}", False) for time_ms in times_ms]


def due(pace: Pace, block: list[Record], begin: int) -> int:
    return asyncio.run(pace.wait_for_due(block, begin, asyncio.Event()))


def test_without_a_pace_all_are_due() -> None:
    assert due(Pace(rate=None, speed=None), records(0, 9_000_000), 0) == 2


@pytest.mark.parametrize("pace", [{"speed": 1.0}, {"rate": 0.0001}])
def test_what_is_hours_away_is_not_waited_for_at_once(pace: dict[str, float]) -> None:
    block = records(0, 3_600_000)
    made = Pace(rate=pace.get("rate"), speed=pace.get("speed"))
    assert due(made, block, 0) == 1
    assert due(made, block, 1) == 1


def test_what_is_past_goes_at_once() -> None:
    made = Pace(rate=None, speed=1e9)
    block = records(0, 1, 2, 3)
    begin = due(made, block, 0)
    while begin < 4:
        begin = due(made, block, begin)
    assert begin == 4
