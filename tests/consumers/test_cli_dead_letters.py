"""What `dead-letters` prints for a person, and how it judges copies."""

from __future__ import annotations

from collections import deque

import pytest

from consumers.cli_dead_letters import _print_letters, verdict_of
from consumers.dead_letter_log import Letter


def test_a_narrow_terminal_cuts_neither_place_nor_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    value = b'{"event_id": "e-1", "type": "like", "user_id": "ann", "item_id": "[b]", "ts": "1"}'
    letter = Letter(
        **{"reason": "wrong_type", "detail": "ts: expected an integer", "value": value},
        **{"topic": "interactions", "partition": 12, "offset": 123_456_789, "time_ms": 0},
    )
    _print_letters(deque([letter]), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("interactions/12/123456789  1970-01-01 00:00:00Z  wrong_type: ts: exp")
    assert second.strip() == value.decode()


def test_copies_of_events_and_of_items_are_judged_as_the_engine_will() -> None:
    event = b'{"event_id": "e", "type": "like", "user_id": "ann", "item_id": "i", "ts": 5}'
    item = b'{"item_id": "i", "author_id": "mia", "created_at": 5}'
    assert verdict_of(b"ann", event, is_event=True) == "good"
    assert verdict_of(b"ann", event.replace(b"5", b'"5"'), is_event=True) == "wrong_type"
    assert verdict_of(b"i", item, is_event=False) == "good"
    assert verdict_of(b"i", None, is_event=False) == "good"  # A removal.
    assert verdict_of(b"i", item.replace(b"5", b'"5"'), is_event=False) == "wrong_type"


def test_a_letter_of_a_topic_that_was_made_anew_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = {"reason": "bad_json", "detail": "", "topic": "t", "partition": 0, "time_ms": 0}
    old, new, unnamed = (
        Letter(**common, offset=offset, value=b"x", topic_id=topic_id)  # type: ignore[arg-type]
        for offset, topic_id in ((1, "first"), (2, "second"), (3, None))
    )
    _print_letters(deque([old, new, unnamed]), {"t": "second"})
    lines = capsys.readouterr().out.splitlines()
    (hint,) = [place for place, line in enumerate(lines) if "its topic was deleted" in line]
    assert hint == 2 and lines[0].startswith("t/0/1") and lines[3].startswith("t/0/2")
    # Where the name is nobody's, or brokers have no ids, nothing is known.
    assert not old.is_of_another_topic({})
