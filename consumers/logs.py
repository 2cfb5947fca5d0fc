"""A log by name: a wire log file, standard input, or the folder of a known public data set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from consumers.produce import Record
from consumers.wire_log_files import read_chunks, records_of, split_lines
from evaluation.adapters import AdapterError, recognise, wire_lines
from stream.announcements import Announcements
from stream.errors import ConfigurationError

_BLOCK_LINES = 4096


def allows_repeats(name: str) -> bool:
    """Whether the log's users consume items again; unknown logs are taken to."""
    if not Path(name).is_dir():
        return True
    try:
        return recognise(Path(name)).repeats
    except AdapterError as error:
        raise ConfigurationError(str(error)) from error


def read_lines(name: str, *, limit: int | None = None) -> Iterator[list[bytes]]:
    """Yield blocks of wire-log lines, ordered as in the file; a data set ordered by ``ts``.

    Args:
        name: Path of a wire log (``.gz`` and ``.zst`` too), ``-``, or a data set's folder.
        limit: Take only the first lines (rows of a data set's file).

    Raises:
        ConfigurationError: There is nothing readable there; says what was expected.
    """
    if name != "-" and Path(name).is_dir():
        try:
            lines = wire_lines(Path(name), limit=limit)
        except AdapterError as error:
            raise ConfigurationError(str(error)) from error
        for begin in range(0, len(lines), _BLOCK_LINES):
            yield lines[begin : begin + _BLOCK_LINES]
        return
    left = limit
    for block in split_lines(read_chunks(name)):
        taken = block if left is None else block[:left]
        yield taken
        if left is not None:
            left -= len(taken)
            if left <= 0:
                return


def read_announcements(name: str | None) -> Announcements | None:
    """Read an items log (see ``stream.announcements``); None without a name.

    Raises:
        ConfigurationError: There is nothing readable there.
    """
    if name is None:
        return None
    return Announcements(line for block in split_lines(read_chunks(name)) for line in block)


def read_records(
    name: str, *, start_index: int = 0, limit: int | None = None
) -> Iterator[list[Record]]:
    """Yield blocks of records to produce: the key is the line's user, the time its ``ts``.

    The first block is read at once: whether there is a log is known before a server is asked.
    """
    blocks = read_lines(name, limit=limit)
    first = next(blocks, [])
    return records_of(chain([first], blocks), start_index)
