"""The exported JSON Schemas are current and say what the decoder does."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from stream.schema import schema_texts
from stream.wire import Interaction, Item
from tests.stream import interaction_oracle as oracle
from tests.stream.corpus import cases

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schema"
# What a schema cannot see, or says with another word (1.0 is an integer to it).
BEYOND = {"too_large", "too_deep", "future"}


@pytest.mark.parametrize("name", sorted(schema_texts()))
def test_exported_schema_is_current(name: str) -> None:
    assert (FOLDER / name).read_text() == schema_texts()[name], "run docs/schema/export.py"


def test_no_schema_is_left_over() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == set(schema_texts())


def has_float(fields: dict[str, object]) -> bool:
    names = ("ts", "watch_ms", "duration_ms", "position")
    return any(isinstance(fields.get(name), float) for name in names)


def test_schema_accepts_what_the_decoder_accepts() -> None:
    validator = jsonschema.Draft202012Validator(Interaction.model_json_schema())
    seen = {True: 0, False: 0}
    for case in cases():
        if case.expected in BEYOND:
            continue
        try:
            fields = oracle.read_json((case.value or b"").decode())
        except ValueError:
            continue
        if not isinstance(fields, dict) or has_float(fields):
            continue
        accepts = validator.is_valid(fields)
        assert accepts == (case.expected is None), case
        seen[accepts] += 1
    assert min(seen.values()) >= 100


def test_item_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(Item.model_json_schema())
