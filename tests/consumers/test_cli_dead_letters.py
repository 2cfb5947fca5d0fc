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
    _print_letters(deque([letter]))
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
