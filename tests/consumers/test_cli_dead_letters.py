"""What `dead-letters list` prints for a person."""

from __future__ import annotations

from collections import deque

import pytest

from consumers.cli_dead_letters import _print_letters
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
