"""Public data sets' own files as wire logs: JSON lines of interactions ordered by ``ts``.

A folder is recognised by its files' names and, where these are shared, by its columns. Each set's
files, columns and rules stand in docs/data-sets.md; the readers in ``adapters_*.py``. A row that
does not fit is an error that names file, line and column.

Absent on purpose: downloading. The files are the user's.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

import msgspec

from evaluation.adapters_movies import MOVIES
from evaluation.adapters_news import NEWS
from evaluation.adapters_shops import SHOPS
from evaluation.adapters_videos import VIDEOS
from evaluation.data_set import DataSet, ItemRow
from evaluation.tables import AdapterError, find_file
from evaluation.wire_events import ordered_lines
from stream.wire import MAX_ID_CHARS, MAX_TAGS, MAX_TEXT_CHARS, MAX_TITLE_CHARS

__all__ = [
    "DATA_SETS",
    "AdapterError",
    "DataSet",
    "folder_of",
    "item_lines",
    "recognise",
    "wire_blocks",
    "wire_lines",
]

DATA_SETS: tuple[DataSet, ...] = (*MOVIES, *NEWS, *SHOPS, *VIDEOS)
# Of a folder that is no data set, named where that is said.
_MAX_NAMES = 8
# Sets that people will try: their name, a file that gives them away, and what they lack.
_NO_LOGS = (
    ("ml-1m-ncf", "train_pairs.parquet", "pairs of users and items without the time of each"),
    ("ml-1m-sasrec", "sequences.txt", "each user's items in order, without the time of each"),
    ("obd-small", "obd_small.csv", "randomised lists and their odds, without users"),
)
_encode = msgspec.json.Encoder().encode


def recognise(folder: Path) -> DataSet:
    """Return the layout of a data set's folder.

    Raises:
        AdapterError: If no known layout fits; says which files each layout expects.
    """
    fitting = [each for each in DATA_SETS if each.has_files(folder)]
    if len(fitting) == 1:
        return fitting[0]
    for each in fitting:
        if each.has_columns(folder):
            return each
    if fitting:
        path = find_file(folder, fitting[0].files[0])[0]
        wanted = "; or ".join(f"{', '.join(each.columns)} ({each.name})" for each in fitting)
        message = f"{path}, line 1: expected the columns {wanted}; found neither"
        raise AdapterError(message)
    for name, pattern, what in _NO_LOGS:
        if find_file(folder, pattern):
            message = (
                f"{folder.resolve()}: expected a log of who did what when, found {name}: {what}; "
                "it cannot be sent or tested in order of time (docs/data-sets.md)"
            )
            raise AdapterError(message)
    known = "; ".join(f"{each.name}: {each.files_in_words}" for each in DATA_SETS)
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    found = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
    message = (
        f"{folder.resolve()}: expected a wire log or the files of a known data set, found "
        f"{found or 'none'}; known are {known} (docs/data-sets.md)"
    )
    raise AdapterError(message)


def folder_of(path: Path) -> Path | None:
    """Return the folder of a data set that a path names: itself, or of one of its files.

    A file without an ending (a day of Adressa) does not stand for its folder: a wire log may well
    be named by its day.
    """
    if path.is_dir():
        return path
    name = path.name.removesuffix(".gz")
    patterns = [each for data_set in DATA_SETS for each in data_set.files[0].split("|")]
    patterns = [each for each in patterns if Path(each).suffix]
    if path.is_file() and any(fnmatch(name, Path(each).name) for each in patterns):
        inside = {Path(each).parent.name for each in patterns if fnmatch(name, Path(each).name)}
        nested = path.parent.name in inside
        return path.parent.parent if nested else path.parent
    return None


def wire_blocks(
    folder: Path, *, limit: int | None = None, block_lines: int = 4096
) -> Iterator[list[bytes]]:
    """Yield a data set's folder as blocks of wire-log lines, ordered by ``ts``, stable.

    Memory is bounded: a log beyond 400,000 events is sorted through temporary files.

    Args:
        folder: The data set's folder, with its files named as published.
        limit: Take only the first events by time.
        block_lines: Lines of a block.

    Raises:
        AdapterError: The folder or a row does not fit; names file, line and column.
    """
    lines = ordered_lines(recognise(folder).read(folder), limit=limit)
    while block := list(islice(lines, block_lines)):
        yield block


def wire_lines(folder: Path, *, limit: int | None = None) -> list[bytes]:
    """Return what :func:`wire_blocks` yields, as one list."""
    return [line for block in wire_blocks(folder, limit=limit) for line in block]


def item_lines(folder: Path) -> Iterator[bytes]:
    """Yield a data set's items as an items log (``stream.announcements``).

    An item is announced when it was published, where the set says so, else one ms after its first
    event: nothing is known of it before someone could have known. Items without an event and
    without a time of publication are left out.

    Raises:
        AdapterError: The set has no file of items, or a row does not fit.
    """
    data_set = recognise(folder)
    if data_set.read_items is None:
        message = f"{folder}: expected a data set with a file of items; {data_set.name} has none"
        raise AdapterError(message)
    first_ms: dict[str, int] = {}
    for event in data_set.read(folder):
        first_ms[event.item_id] = min(event.ts, first_ms.get(event.item_id, event.ts))
    for row in data_set.read_items(folder):
        if row.published_ms >= 0 or row.item_id in first_ms:
            yield _item_line(row, first_ms.get(row.item_id, -1))


def _item_line(row: ItemRow, first_ms: int) -> bytes:
    known_ms = row.published_ms if row.published_ms >= 0 else first_ms + 1
    created_ms = row.published_ms if row.published_ms >= 0 else first_ms
    fields: dict[str, object] = {
        "item_id": row.item_id,
        # Items of one author are capped in a list: without one, each is its own author's.
        "author_id": row.author[:MAX_ID_CHARS] or row.item_id,
        "created_at": created_ms,
        "ts": known_ms,
    }
    if row.title:
        fields["title"] = row.title[:MAX_TITLE_CHARS]
    if row.category:
        fields["category"] = row.category[:MAX_TEXT_CHARS]
    if row.tags:
        fields["tags"] = [tag[:MAX_TEXT_CHARS] for tag in row.tags[:MAX_TAGS]]
    if row.duration_ms > 0:
        fields["duration_ms"] = row.duration_ms
    return _encode(fields)
