"""The order of a log: by time, stable, whatever the size of the chunks it is sorted in."""

import json

from hypothesis import given
from hypothesis import strategies as st

from evaluation.wire_events import WireEvent, click, ordered_lines, rated


def numbers(times: list[int], limit: int | None, chunk_events: int) -> list[int]:
    events = (click(ts, str(number), "u", "i") for number, ts in enumerate(times))
    lines = ordered_lines(events, limit=limit, chunk_events=chunk_events)
    return [int(json.loads(line)["event_id"]) for line in lines]


@given(
    st.lists(st.integers(0, 5), max_size=30),
    st.integers(1, 12),
    st.one_of(st.none(), st.integers(1, 40)),
)
def test_chunks_on_disk_give_the_stable_order(
    times: list[int], chunk_events: int, limit: int | None
) -> None:
    expected = sorted(range(len(times)), key=lambda number: times[number])[:limit]
    assert numbers(times, limit, chunk_events) == expected


def test_a_rating_is_a_share_of_a_minute() -> None:
    assert rated(1, "0", "u", "i", 0.3).watch_ms == 18_000
    assert json.loads(WireEvent(1, "0", "like", "u", "i", request_id="7").line()) == {
        "event_id": "0", "type": "like", "user_id": "u", "item_id": "i", "ts": 1, "request_id": "7",
    }  # fmt: skip
