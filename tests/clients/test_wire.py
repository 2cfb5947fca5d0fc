"""The client's copy of the contract is the engine's: same schema, same bounds, same verdicts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from headwater_client import wire as ours
from stream import wire as engines
from tests.stream.corpus import cases
from tests.stream.record_builders import GOOD_WATCH

MODELS = ("Interaction", "Item")
GOOD_ITEM = {
    **{"item_id": "i", "author_id": "a", "created_at": 5, "duration_ms": 7, "category": "c"},
    **{"tags": ["x", "y"], "title": "t", "embedding": [1.0, -2.5], "kind": "live"},
    "status": "hidden",
}


def verdict(model: type[BaseModel], fields: object) -> object:
    """Return the values, or each complaint's place and kind."""
    try:
        return model.model_validate(fields).model_dump()
    except ValidationError as error:
        return [(each["loc"], each["type"]) for each in error.errors()]


@pytest.mark.parametrize("name", MODELS)
def test_the_json_schemas_are_equal(name: str) -> None:
    copied, original = getattr(ours, name), getattr(engines, name)
    assert copied is not original
    assert copied.model_json_schema() == original.model_json_schema()
    assert copied.model_config == original.model_config


def test_every_bound_of_the_copy_is_the_engines() -> None:
    bounds = [name for name in vars(ours) if name.startswith("MAX_")]
    assert len(bounds) >= 10
    assert [getattr(ours, name) for name in bounds] == [getattr(engines, name) for name in bounds]


def test_the_engines_corpus_has_the_same_verdicts() -> None:
    seen = {list: 0, dict: 0}
    for case in cases():
        try:
            fields = from_json(case.value or b"", allow_inf_nan=False)
        except ValueError:
            continue
        found = verdict(ours.Interaction, fields)
        assert found == verdict(engines.Interaction, fields), case.name
        seen[type(found)] += 1
    assert min(seen.values()) >= 100


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 5_000_000_000_000),
    st.floats(),
    st.text(max_size=70),
    st.lists(st.one_of(st.text(max_size=3), st.floats(), st.none()), max_size=70),
    st.sampled_from(["watch", "like", "erase", "dance", "video", "hidden", "\n", "", "x" * 257]),
)


@settings(deadline=None)
@given(st.sampled_from(MODELS), st.data())
def test_changed_records_have_the_same_verdicts(name: str, data: Any) -> None:
    fields: dict[str, Any] = dict(GOOD_WATCH if name == "Interaction" else GOOD_ITEM)
    changes = data.draw(st.dictionaries(st.sampled_from(sorted(fields)), JUNK, max_size=3))
    fields |= changes
    for missing in data.draw(st.sets(st.sampled_from(sorted(fields)), max_size=2)):
        del fields[missing]
    copied, original = getattr(ours, name), getattr(engines, name)
    assert repr(verdict(copied, fields)) == repr(verdict(original, fields))


def test_json_of_the_copy_is_read_by_the_engine() -> None:
    event = ours.Interaction(**GOOD_WATCH)
    assert json.loads(event.model_dump_json(exclude_none=True)) == GOOD_WATCH
    item = ours.Item(**GOOD_ITEM)
    assert engines.Item.model_validate_json(item.model_dump_json()).model_dump() == GOOD_ITEM
