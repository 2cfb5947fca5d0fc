"""The items topic: announced, removed, rejected."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from state.item_columns import AUTHOR, CATEGORY, TAG, metadata_key
from stream.decode_items import DecodedItems, decode_items
from stream.slab import Slab
from stream.wire import MAX_ITEM_BYTES, Item

GOOD: dict[str, Any] = {"item_id": "i-1", "author_id": "a-1", "created_at": 1_700_000_000_000}
FULL: dict[str, Any] = {
    **GOOD,
    "duration_ms": 30_000,
    "category": "cats",
    "tags": ["x", "ü"],
    "title": "A cat",
    "embedding": [0.5, -1, 2e-3],
    "kind": "live",
    "status": "hidden",
    "made_up": {"a": 1},
}


def decode(*records: tuple[bytes | None, bytes | None]) -> DecodedItems:
    """Decode (key, value) records; None for a null key or value."""
    slab = Slab.from_records([(key or b"", value or b"") for key, value in records])
    for index, (key, value) in enumerate(records):
        if key is None:
            slab.key_lengths[index] = slab.key_starts[index] = -1
        if value is None:
            slab.value_lengths[index] = slab.value_starts[index] = -1
    return decode_items(slab)


def item(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def reason_of(value: bytes, key: bytes | None = None) -> str | None:
    rejected = decode((key, value)).rejected
    return rejected[0].reason if rejected else None


def test_every_field_arrives() -> None:
    columns = decode((b"i-1", json.dumps(FULL).encode())).columns
    assert len(columns) == 1 and columns.item_id(0) == b"i-1"
    assert columns.created_at_ms.tolist() == [1_700_000_000_000]
    assert columns.duration_ms.tolist() == [30_000]
    assert columns.author_keys.tolist() == [metadata_key(AUTHOR, b"a-1")]
    assert columns.category_keys.tolist() == [metadata_key(CATEGORY, b"cats")]
    assert columns.tag_keys.tolist() == [metadata_key(TAG, b"x"), metadata_key(TAG, "ü".encode())]
    assert columns.embedding_values.tolist() == np.float32([0.5, -1, 2e-3]).tolist()
    assert columns.is_hidden.tolist() == [True]


def test_only_three_fields_are_needed_and_null_is_absent() -> None:
    nulls = dict.fromkeys(("duration_ms", "category", "tags", "title", "embedding"))
    for value in (item(), item(**nulls)):
        columns = decode((None, value)).columns
        assert columns.duration_ms.tolist() == [0]
        assert columns.category_keys.tolist() == [0]
        assert columns.tag_splits.tolist() == [0, 0]
        assert columns.embedding_splits.tolist() == [0, 0]
        assert columns.is_hidden.tolist() == [False]


def test_the_last_good_record_of_an_id_counts() -> None:
    decoded = decode(
        (b"a", item(item_id="a", created_at=1)),
        (b"b", item(item_id="b")),
        (b"c", None),
        (b"a", None),
        (b"b", b"broken"),
        (b"c", item(item_id="c")),
        (b"a", item(item_id="a", created_at=2)),
        (b"d", item(item_id="d")),
        (b"d", None),
    )
    assert [decoded.columns.item_id(n) for n in range(len(decoded.columns))] == [b"b", b"c", b"a"]
    assert decoded.columns.created_at_ms.tolist()[-1] == 2
    assert decoded.removed_ids == (b"d",)
    assert [(each.offset, each.reason) for each in decoded.rejected] == [(4, "bad_json")]


def test_removals_need_a_key_that_can_be_an_id() -> None:
    keys = (None, b"", b"\xff", b"x" * 65, b"a\nb", "é".encode())
    decoded = decode(*((key, None) for key in keys))
    assert decoded.removed_ids == ("é".encode(),)
    reasons = [each.reason for each in decoded.rejected]
    assert reasons == ["null_value", "bad_id", "bad_id", "bad_id", "bad_id"]


def test_key_and_item_id_must_agree() -> None:
    assert reason_of(item(), b"i-1") is None
    assert reason_of(item(), b'"i-1"') == "key_mismatch"
    assert reason_of(item(), b"") == "key_mismatch"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"item_id": ""}, "bad_id"),
        ({"item_id": 5}, "wrong_type"),
        ({"author_id": None}, "wrong_type"),
        ({"author_id": "a\x00"}, "bad_id"),
        ({"created_at": -1}, "out_of_range"),
        ({"created_at": 1.5}, "wrong_type"),
        ({"created_at": 4_102_444_800_000}, "out_of_range"),
        ({"duration_ms": -1}, "out_of_range"),
        ({"duration_ms": "5"}, "wrong_type"),
        ({"category": ""}, "too_long"),
        ({"category": "x" * 257}, "too_long"),
        ({"category": 5}, "wrong_type"),
        ({"tags": "x"}, "wrong_type"),
        ({"tags": ["x", ""]}, "too_long"),
        ({"tags": ["x", 5]}, "wrong_type"),
        ({"tags": ["x", None]}, "wrong_type"),
        ({"tags": ["x"] * 65}, "too_long"),
        ({"title": "x" * 1025}, "too_long"),
        ({"title": []}, "wrong_type"),
        ({"embedding": []}, "too_long"),
        ({"embedding": [1.0] * 4097}, "too_long"),
        ({"embedding": ["1"]}, "wrong_type"),
        ({"embedding": [True]}, "wrong_type"),
        ({"embedding": [None]}, "wrong_type"),
        ({"embedding": [1e7]}, "out_of_range"),
        ({"embedding": {"0": 1}}, "wrong_type"),
        ({"embedding": 5}, "wrong_type"),
        ({"kind": "song"}, "unknown_type"),
        ({"kind": 5}, "wrong_type"),
        ({"status": "gone"}, "unknown_type"),
        ({"tags": []}, None),
        ({"title": ""}, None),
        ({"embedding": [0] * 4096}, None),
        ({"embedding": [1e6, -1e6]}, None),
        ({"tags": ["é" * 256] * 64}, None),
        ({"item_id": "é" * 64}, None),
    ],
)  # fmt: skip
def test_bad_fields_have_their_reasons(fields: dict[str, Any], expected: str | None) -> None:
    assert reason_of(item(**fields)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", "empty_value"),
        (b"x" * (MAX_ITEM_BYTES + 1), "too_large"),
        (b"\xff", "bad_utf8"),
        (b"[" * 99, "too_deep"),
        (b"{", "bad_json"),
        (item().replace(b"}", b',"embedding":[NaN]}'), "bad_json"),
        (item().replace(b"}", b',"embedding":[Infinity]}'), "bad_json"),
        (item().replace(b"}", b',"embedding":[1e999]}'), "out_of_range"),
        (item(title="\ud800"), "bad_utf8"),
        (b"[]", "not_an_object"),
        (b"{}", "missing_field"),
        (item().replace(b'"author_id"', b'"author"'), "missing_field"),
    ],
)
def test_bad_records_have_their_reasons(value: bytes, expected: str) -> None:
    assert reason_of(value) == expected


def test_largest_item_fits() -> None:
    largest = item(embedding=[-123456.123456789012] * 4096, tags=["x" * 256] * 64)
    assert len(largest) < MAX_ITEM_BYTES and reason_of(largest) is None


def test_verdicts_are_the_published_models() -> None:
    for value in (json.dumps(FULL).encode(), item(), item(kind="song"), item(embedding=[]), b"{"):
        try:
            Item.model_validate_json(value)
        except ValueError:
            assert reason_of(value) is not None
        else:
            assert reason_of(value) is None
