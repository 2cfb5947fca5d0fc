"""Decode a slab of the compacted topic ``items``: announced items, removed ids, rejects.

Items are a light topic: the published model judges each record. Absent on purpose: what the
engine makes of an item (projection of its embedding, which tags it keeps), which is the
catalogue's.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from state.item_columns import ItemColumns
from stream.dead_letters import cut_value
from stream.events import Reject
from stream.slab import Slab
from stream.verdicts import Fault, explain, read_object
from stream.wire import MAX_ITEM_BYTES, Id, Item, Reason

_ID = TypeAdapter(Id)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedItems:
    """What one slab says of the catalogue; of several good records with one id the last counts.

    Attributes:
        columns: Announced items in log order, each id once.
        removed_ids: Ids whose last good record has no value, in log order, each id once; none of
            them is among the announced.
        rejected: Records that cannot be used, ascending by offset; they change nothing.
    """

    columns: ItemColumns
    removed_ids: tuple[bytes, ...]
    rejected: tuple[Reject, ...]


def decode_items(slab: Slab) -> DecodedItems:
    """Decode every record of a slab of ``items``; what cannot be used comes back as rejects."""
    last: dict[bytes, Item | None] = {}
    rejected: list[Reject] = []
    # A Python loop over records: items are announced once and read by a model each.
    for index, offset in enumerate(slab.offsets.tolist()):
        key, value = slab.key(index), slab.value(index)
        verdict = judge_item(key, value)
        if isinstance(verdict, Fault):
            reason, detail = verdict
            rejected.append(
                Reject(offset=offset, reason=reason, detail=detail, value=cut_value(value))
            )
            continue
        item_id = key if verdict is None else verdict.item_id.encode()
        assert item_id is not None, "a removal is only good with a key"
        last.pop(item_id, None)  # So that the order is that of the records that count.
        last[item_id] = verdict
    return DecodedItems(
        columns=_columns([item for item in last.values() if item is not None]),
        removed_ids=tuple(item_id for item_id, item in last.items() if item is None),
        rejected=tuple(rejected),
    )


def judge_item(key: bytes | None, value: bytes | None) -> Item | Fault | None:
    """Judge one record of ``items``; None is a good removal of the key's id.

    A record whose key is not its ``item_id`` is bad: compaction and removal go by the key. A
    record without a key is taken at its word (files and tests have none).
    """
    if value is None:
        return _judge_removal(key)
    fields = read_object(value, max_bytes=MAX_ITEM_BYTES)
    if isinstance(fields, Fault):
        return fields
    try:
        item = Item.model_validate(fields)
    except ValidationError as error:
        return explain(error)
    if key is not None and key != item.item_id.encode():
        detail = f"the record's key should be its item_id, a key of {len(key)} bytes came"
        return Fault(Reason.KEY_MISMATCH, detail)
    return item


def _judge_removal(key: bytes | None) -> Fault | None:
    if key is None:
        return Fault(Reason.NULL_VALUE, "expected an item or the key of one, neither came")
    try:
        _ID.validate_python(key.decode(), strict=True)
    except (UnicodeDecodeError, ValidationError):
        return Fault(
            Reason.BAD_ID, f"the key of a removal should be an item_id, {len(key)} other bytes came"
        )
    return None


def _columns(items: list[Item]) -> ItemColumns:
    return ItemColumns.of(
        [item.item_id.encode() for item in items],
        created_at_ms=[item.created_at for item in items],
        duration_ms=[item.duration_ms or 0 for item in items],
        authors=[item.author_id.encode() for item in items],
        categories=[item.category.encode() if item.category else None for item in items],
        tags=[[tag.encode() for tag in item.tags or ()] for item in items],
        embeddings=[item.embedding for item in items],
        is_hidden=[item.status == "hidden" for item in items],
    )
