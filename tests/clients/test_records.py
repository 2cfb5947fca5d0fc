"""Records of events and items: what is no longer as the contract wants it is not sent."""

from __future__ import annotations

from typing import Any

import pytest

from headwater_client import InvalidEvent, Item
from headwater_client.records import item_record

ITEM = Item(item_id="clip-7", author_id="mia", created_at=1)


def test_an_item_is_keyed_by_its_id() -> None:
    hidden = item_record(ITEM.model_copy(update={"status": "hidden"}), "items")
    assert (hidden.key, hidden.record_id) == (b"clip-7", "clip-7")
    assert hidden.value is not None and b'"hidden"' in hidden.value


@pytest.mark.parametrize("update", [{"status": "hiden"}, {"item_id": ""}, {"created_at": -1}])
def test_a_copy_with_a_mistake_is_refused(update: dict[str, Any]) -> None:
    (name,) = update
    with pytest.raises(InvalidEvent, match=f"an item as in the contract: {name}: "):
        item_record(ITEM.model_copy(update=update), "items")
