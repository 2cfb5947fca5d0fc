r"""Wire logs: JSON lines of interactions in order of arrival, as record values and slabs.

A line's bytes are a record's value: what is wrong with a line is found by the decoder, which gives
a reject, never an exception. Absent on purpose: files and decompression (the shell passes chunks
of bytes), and partitions (a log has none).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stream.slab import Slab
from stream.wire import MAX_VALUE_BYTES

# Longer lines are cut to this and rejected as too large, so that one line cannot fill the memory.
_MAX_LINE_BYTES = MAX_VALUE_BYTES + 1
_BLANK = b" \t\r\n"


def read_values(chunks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Yield the value of each line that is not blank, without its line end.

    Args:
        chunks: A file's bytes in pieces of any size; lines end in ``\n`` or ``\r\n``, the last one
            may end with the file.

    >>> list(read_values([b'{"a":', b'1}\r\n\n  \n{"a":2}']))
    [b'{"a":1}', b'{"a":2}']
    """
    open_line = b""
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        open_line += first[: _MAX_LINE_BYTES - len(open_line)]
        for line in others:
            if open_line.strip(_BLANK):
                yield open_line.removesuffix(b"\r")
            open_line = line[:_MAX_LINE_BYTES]
    if open_line.strip(_BLANK):
        yield open_line.removesuffix(b"\r")


def read_slabs(
    chunks: Iterable[bytes], *, max_records: int = 8192, first_offset: int = 0
) -> Iterator[Slab]:
    """Yield a wire log as slabs of one partition; offsets count the lines that are not blank.

    Kafka timestamps are unknown (-1): an old log plays as it was, without a future check.
    """
    values: list[bytes] = []
    for value in read_values(chunks):
        values.append(value)
        if len(values) == max_records:
            yield Slab.from_values(values, first_offset=first_offset)
            first_offset += len(values)
            values = []
    if values:
        yield Slab.from_values(values, first_offset=first_offset)
