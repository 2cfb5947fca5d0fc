"""The wire models by themselves: names, bounds, what a producer sees."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from stream import wire
from stream.events import Action
from stream.scan_fields import FIELDS
from stream.wire import ACTION_NAMES, DeadLetter, Interaction, Item, Reason
from tests.stream.record_builders import GOOD_WATCH


def test_action_names_are_the_actions_in_order() -> None:
    assert [action.name.lower() for action in Action] == list(ACTION_NAMES)
    assert [int(action) for action in Action] == list(range(len(ACTION_NAMES)))


def test_scanner_knows_exactly_the_fields_of_the_model() -> None:
    assert set(FIELDS) == set(Interaction.model_fields)


def test_reason_codes_are_stable() -> None:
    """A code is part of the contract: adding one is fine, changing one is not."""
    assert [reason.value for reason in Reason] == [
        "null_value", "empty_value", "too_large", "bad_utf8", "too_deep", "bad_json",
        "not_an_object", "missing_field", "wrong_type", "unknown_type", "bad_id", "out_of_range",
        "too_long", "future", "key_mismatch", "misrouted", "bad_frame",
    ]  # fmt: skip


def test_every_reason_code_stands_in_the_decision_page() -> None:
    from pathlib import Path

    page = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "0002-decoder.md"
    listed = set(re.findall(r"^\| `(\w+)` \|", page.read_text(), re.MULTILINE))
    assert listed == {reason.value for reason in Reason}


def test_models_are_frozen_and_strict_for_producers_too() -> None:
    interaction = Interaction(**GOOD_WATCH)
    with pytest.raises(ValidationError):
        interaction.ts = 5  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Interaction(**{**GOOD_WATCH, "ts": "5"})


def test_json_of_a_model_is_read_back_equal() -> None:
    for model in (
        Interaction(**GOOD_WATCH, device="é\u2028", position=0),
        Item(item_id="i", author_id="a", created_at=5, tags=["x"], embedding=[1.0, -0.5]),
        DeadLetter(reason="bad_json", detail="d", topic="t", partition=0, offset=1, value="\x00"),
    ):
        assert type(model).model_validate_json(model.model_dump_json()) == model


def test_errors_do_not_repeat_the_input() -> None:
    """Messages reach logs; ids and texts must not."""
    with pytest.raises(ValidationError) as caught:
        Interaction(**{**GOOD_WATCH, "user_id": "secret" * 20})
    assert "secret" not in str(caught.value)


def test_id_bound_holds_in_bytes() -> None:
    longest = "\U0010ffff" * (wire.MAX_ID_CHARS - 1) + "abc"[:1]
    assert Interaction(**{**GOOD_WATCH, "user_id": longest}).user_id == longest
    with pytest.raises(ValidationError, match="at most 255 bytes of UTF-8, came 256"):
        Interaction(**{**GOOD_WATCH, "user_id": "\U0010ffff" * wire.MAX_ID_CHARS})
