"""A log by name: a wire log file, standard input, or the folder of a known public data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from consumers.console import say
from consumers.produce import Record
from consumers.resume import Resume
from consumers.wire_log_files import read_chunks, records_of, split_lines
from evaluation.adapters import (
    AdapterError,
    DataSet,
    folder_of,
    item_lines,
    recognise,
    wire_blocks,
)
from stream.announcements import REMOVED, Announcements
from stream.decode_items import judge_item
from stream.errors import ConfigurationError
from stream.replay import Replay
from stream.verdicts import Fault

# Lines of an items log that are looked at before it is used.
_JUDGED_ITEMS = 100


def data_set_of(name: str) -> tuple[DataSet, Path] | None:
    """Return the data set, and its folder, that a log's name stands for; None for a wire log.

    Raises:
        ConfigurationError: It is a folder of no known data set.
    """
    folder = folder_of(Path(name)) if name != "-" else None
    if folder is None:
        return None
    try:
        return recognise(folder), folder
    except AdapterError as error:
        raise ConfigurationError(str(error)) from error


def read_lines(name: str, *, limit: int | None = None) -> Iterator[list[bytes]]:
    """Yield blocks of wire-log lines, ordered as in the file; a data set ordered by ``ts``.

    Args:
        name: Path of a wire log (``.gz`` and ``.zst`` too), ``-``, or a data set: its folder, or
            one of its files.
        limit: Take only the first lines (events of a data set by time).

    Raises:
        ConfigurationError: There is nothing readable there; says what was expected.
    """
    known = data_set_of(name)
    if known is not None:
        try:
            yield from wire_blocks(known[1], limit=limit)
        except AdapterError as error:
            raise ConfigurationError(str(error)) from error
        return
    left = limit
    for block in split_lines(read_chunks(name), name):
        taken = block if left is None else block[:left]
        yield taken
        if left is not None:
            left -= len(taken)
            if left <= 0:
                return


def read_announcements(name: str | None) -> Announcements | None:
    """Read an items log (see ``stream.announcements``); None without a name.

    Args:
        name: Path of an items log, or a data set that has a file of items.

    Raises:
        ConfigurationError: There is nothing readable there, or nothing of its beginning is an item.
    """
    if name is None:
        return None
    known = data_set_of(name)
    if known is not None:
        try:
            return Announcements(item_lines(known[1]))
        except AdapterError as error:
            raise ConfigurationError(str(error)) from error
    lines = [line for block in split_lines(read_chunks(name), name) for line in block]
    _check_items(name, lines[:_JUDGED_ITEMS])
    return Announcements(lines)


def _check_items(name: str, lines: Sequence[bytes]) -> None:
    """Refuse another kind of file before long work begins without any item."""
    judged = [judge_item(None, line) for line in lines if REMOVED.encode() not in line]
    faults = [each for each in judged if isinstance(each, Fault)]
    if faults and len(faults) == len(lines):
        message = (
            f"{name}: expected an items log (docs/schema/item.json), none of its first "
            f"{len(lines)} lines is an item; line 1: {faults[0].reason}, {faults[0].detail}"
        )
        raise ConfigurationError(message)


def say_rejected(replay: Replay) -> None:
    """Say how many lines of the items log were no items."""
    if replay.num_rejected_items:
        say(f"{replay.num_rejected_items} lines of the items log left out: not items")


def read_records(
    name: str,
    *,
    start_index: int = 0,
    limit: int | None = None,
    resume: Resume | None = None,
    announced: Announcements | None = None,
) -> Iterator[list[Record]]:
    """Yield blocks of records to produce: the key is the line's user, the time its ``ts``.

    The first block is read at once: whether there is a log is known before a server is asked.

    Args:
        name: As in :func:`read_lines`.
        start_index: Lines to skip.
        limit: Take only the first lines, skipped ones among them.
        resume: Skips what is acknowledged, and is told the rest; instead of ``start_index``.
        announced: Items, each to come before the first event that is not before it in time; what
            is later than the last event comes behind it, unless there is a limit. Lines that name
            no item are left out and said: their topic is compacted, and Kafka refuses a batch with
            a record that has no key.
    """
    lines = read_lines(name, limit=limit)
    blocks = lines if resume is None else resume.follow(lines)
    first = next(blocks, [])
    records = records_of(chain([first], blocks), start_index)
    if announced is None:
        return records
    if announced.num_unnamed:
        say(f"{announced.num_unnamed} lines of the items log left out: no item's id can be read")
    return _with_announcements(records, announced, to_the_end=limit is None)


def _with_announcements(
    blocks: Iterable[Sequence[Record]], announcements: Announcements, *, to_the_end: bool
) -> Iterator[list[Record]]:
    now_ms = 0
    for events in blocks:
        block: list[Record] = []
        for event in events:
            now_ms = event[0]
            block += _items_due(announcements, now_ms, now_ms)
            block.append(event)
        yield block
    if to_the_end:
        yield _items_due(announcements, announcements.end_ms, now_ms)


def _items_due(announcements: Announcements, until_ms: int, time_ms: int) -> list[Record]:
    due = announcements.take_records(until_ms)
    return [(time_ms, "items", key, value, False) for key, value in due if key is not None]
