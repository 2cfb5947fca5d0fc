"""ItemColumns: announced items as bare arrays, the form in which the catalogue takes them.

Made by the decoder of the ``items`` topic. Text becomes a 64-bit key here (authors, categories,
tags): the catalogue compares keys and never needs the words. Absent: titles, and the null values
that remove an item; they go to ``Catalogue.remove``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

# Kinds of metadata keys: an author and a tag of the same name must not meet.
AUTHOR = b"author"
CATEGORY = b"category"
TAG = b"tag"


def metadata_key(kind: bytes, text: bytes) -> int:
    """Hash an author, category or tag to its uint64 key; never 0, which means none.

    >>> metadata_key(TAG, b"cats") == metadata_key(TAG, b"cats")
    True
    >>> metadata_key(TAG, b"cats") == metadata_key(AUTHOR, b"cats")
    False
    """
    digest = blake2b(text, digest_size=8, person=kind.ljust(16, b"\0")).digest()
    return int.from_bytes(digest, "little") or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemColumns:
    """Announced items in log order. E = number of items; an id that comes twice: the last wins.

    Attributes:
        buffer: uint8, bytes of the ids.
        starts: int64 (E,), where each id starts in ``buffer``.
        lengths: int32 (E,), bytes of each id.
        created_at_ms: int64 (E,), event time of publication.
        duration_ms: int32 (E,); 0 where unknown.
        author_keys: uint64 (E,), :func:`metadata_key`; 0 where absent.
        category_keys: uint64 (E,); 0 where absent.
        tag_splits: int64 (E + 1,); item e owns ``tag_keys[tag_splits[e] : tag_splits[e + 1]]``.
        tag_keys: uint64 (T,), in the order of the record.
        embedding_splits: int64 (E + 1,); an empty span means that the item announced none.
        embedding_values: float32 (V,), finite, as announced (any length, not normalised).
        is_hidden: bool (E,), the status forbids recommending it.
    """

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    created_at_ms: NDArray[np.int64]
    duration_ms: NDArray[np.int32]
    author_keys: NDArray[np.uint64]
    category_keys: NDArray[np.uint64]
    tag_splits: NDArray[np.int64]
    tag_keys: NDArray[np.uint64]
    embedding_splits: NDArray[np.int64]
    embedding_values: NDArray[np.float32]
    is_hidden: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of(
        cls,
        item_ids: Sequence[bytes],
        *,
        created_at_ms: Sequence[int],
        duration_ms: Sequence[int] | None = None,
        authors: Sequence[bytes | None] | None = None,
        categories: Sequence[bytes | None] | None = None,
        tags: Sequence[Sequence[bytes]] | None = None,
        embeddings: Sequence[Sequence[float] | None] | None = None,
        is_hidden: Sequence[bool] | None = None,
    ) -> ItemColumns:
        """Make columns from one Python value per item (decoders of a light topic, and tests).

        Every argument that is given has one entry per id; None stands for absent throughout.
        """
        count = len(item_ids)
        lengths = np.fromiter((len(item_id) for item_id in item_ids), np.int32, count)
        tag_lists = tags if tags is not None else [()] * count
        vectors = [vector or () for vector in embeddings] if embeddings is not None else []
        vectors = vectors or [()] * count
        return cls(
            buffer=np.frombuffer(b"".join(item_ids), np.uint8),
            starts=np.cumsum(lengths, dtype=np.int64) - lengths,
            lengths=lengths,
            created_at_ms=np.array(created_at_ms, np.int64),
            duration_ms=np.array(duration_ms or [0] * count, np.int32),
            author_keys=_keys(AUTHOR, authors, count),
            category_keys=_keys(CATEGORY, categories, count),
            tag_splits=_splits([len(tag_list) for tag_list in tag_lists]),
            tag_keys=np.array(
                [metadata_key(TAG, tag) for tag_list in tag_lists for tag in tag_list], np.uint64
            ),
            embedding_splits=_splits([len(vector) for vector in vectors]),
            embedding_values=np.array(
                [value for vector in vectors for value in vector], np.float32
            ),
            is_hidden=np.array(is_hidden or [False] * count, np.bool_),
        )

    def item_id(self, index: int) -> bytes:
        """Return a copy of one item's id."""
        start = int(self.starts[index])
        return self.buffer[start : start + int(self.lengths[index])].tobytes()


def _keys(kind: bytes, texts: Sequence[bytes | None] | None, count: int) -> NDArray[np.uint64]:
    if texts is None:
        return np.zeros(count, np.uint64)
    return np.array([0 if text is None else metadata_key(kind, text) for text in texts], np.uint64)


def _splits(lengths: Sequence[int]) -> NDArray[np.int64]:
    splits = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(np.array(lengths, np.int64), out=splits[1:])
    return splits
