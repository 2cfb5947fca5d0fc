"""The snapshot codec: arrays and a few facts to bytes and back, checked. Absent: any file.

```
magic 8 | schema version u32 | header length u32 | header JSON | padding | arrays ... | checksum 16
```
The header names each array with dtype, shape and position; arrays start at multiples of 64 bytes.
The checksum is XXH3-128 over all before it: a flipped bit or a cut is found before a value is used.
It is no signature: who may write the store is trusted. Version 1 had BLAKE2b-256, which took half
of a restore. Integers are little-endian everywhere.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from state.table import Arrays

SCHEMA_VERSION = 2
_MAGIC = b"HEADWATR"
_ALIGNMENT = 64
_PREFIX = struct.Struct("<8sII")
_CHECKSUM_BYTES = 16

Piece = bytes | memoryview
Meta = dict[str, Any]

# Of each older version that is still read: what makes arrays and facts of the next one. The version
# grows when a column changes its meaning; one that is only new is filled where tables restore.
MIGRATIONS: dict[int, Callable[[Arrays, Meta], tuple[Arrays, Meta]]] = {
    1: lambda arrays, meta: (arrays, meta),  # Another checksum, the same arrays.
}


class SnapshotInvalid(ValueError):
    """The bytes are no snapshot: cut, or changed."""


class SnapshotSchema(ValueError):
    """The bytes are a whole snapshot of a schema version that is neither read nor migrated."""


def encode(arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> list[Piece]:
    """Return the pieces of a snapshot, to be written one after another.

    Args:
        arrays: Name to array; contiguous ones are not copied: they must not change until the
            pieces are written.
        meta: Facts that JSON can hold.

    Returns:
        Pieces in order; the last is the checksum of all before.
    """
    table, position, bodies = [], 0, []
    for name, array in arrays.items():
        if array.dtype.hasobject:
            msg = f"expected plain numbers in {name}, got {array.dtype}"
            raise TypeError(msg)
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        table.append([name, little.dtype.str, list(array.shape), position])
        bodies.append(little.reshape(-1).view(np.uint8).data)
        position = _aligned(position + little.nbytes)
    header = json.dumps({"meta": dict(meta), "arrays": table}, allow_nan=False).encode()
    head = _PREFIX.pack(_MAGIC, SCHEMA_VERSION, len(header)) + header
    pieces: list[Piece] = [head, bytes(_aligned(len(head)) - len(head))]
    for body in bodies:
        pieces += [body, bytes(_aligned(len(body)) - len(body))]
    return [*pieces, _checksum(pieces)]


def decode(data: bytes | memoryview) -> tuple[Arrays, dict[str, Any]]:
    """Return arrays (read-only views of ``data``) and facts of a snapshot.

    Raises:
        SnapshotInvalid: The checksum does not hold, or it is no snapshot.
        SnapshotSchema: It is whole, and of a version that has no way to ours.
    """
    view = memoryview(data).toreadonly()
    if len(view) < _PREFIX.size + _CHECKSUM_BYTES:
        msg = f"expected a snapshot, got {len(view)} bytes; was the file cut?"
        raise SnapshotInvalid(msg)
    magic, version, header_length = _PREFIX.unpack_from(view)
    if magic != _MAGIC:
        msg = f"expected a snapshot that begins with {_MAGIC!r}, got {bytes(magic)!r}"
        raise SnapshotInvalid(msg)
    if not _is_whole(view, version):
        msg = "expected the checksum to hold, it does not; the file was cut or changed"
        raise SnapshotInvalid(msg)
    # After the checksum: a flipped bit in the version is no other version. All that comes before
    # the arrays is the same in every version, and the checksum in every one from the second on.
    if version != SCHEMA_VERSION and version not in MIGRATIONS:
        readable = sorted({*MIGRATIONS, SCHEMA_VERSION})
        msg = f"expected schema version {' or '.join(map(str, readable))}, found {version}"
        raise SnapshotSchema(msg)
    header_end = _PREFIX.size + header_length
    header = json.loads(bytes(view[_PREFIX.size : header_end]))
    first = _aligned(header_end)
    arrays: Arrays = {}
    for name, dtype, shape, position in header["arrays"]:
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        start = first + position
        arrays[name] = np.frombuffer(view, kind, count, start).reshape(shape)
    meta: Meta = header["meta"]
    while version != SCHEMA_VERSION:
        arrays, meta = MIGRATIONS[version](arrays, meta)
        version += 1
    return arrays, meta


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _is_whole(view: memoryview, version: int) -> bool:
    if version == 1:
        body, found = view[:-32], view[-32:]
        return hashlib.blake2b(body, digest_size=32).digest() == found
    return _checksum([view[:-_CHECKSUM_BYTES]]) == view[-_CHECKSUM_BYTES:]


def _checksum(pieces: Sequence[Piece]) -> bytes:
    digest = xxhash.xxh3_128()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
