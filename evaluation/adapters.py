"""Public data sets' own files as wire logs: JSON lines of interactions ordered by ``ts``.

The mapping (one place for all commands): a click or a rating is a ``watch``; a click watched
30,000 of 30,000 ms; a rating rating / 5 of 60,000 ms; a view of an article 20,000 of 30,000 ms.
``event_id`` is the row number in the file, seconds become milliseconds, the order is by ``ts``,
stable. A row that does not fit is an error that names file, line and column.

Absent on purpose: downloading. The files are the user's.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

_CLICK_MS = 30_000
_RATED_MS = 60_000
_VIEWED_MS = 20_000
_encode = msgspec.json.Encoder().encode


class AdapterError(ValueError):
    """A data set's file does not fit its documented columns."""


@dataclass(frozen=True, slots=True)
class _Row:
    number: int  # Place in the file, from 0.
    ts: int
    type: str
    user_id: str
    item_id: str
    watch_ms: int = -1
    duration_ms: int = -1


def _lines(rows: list[_Row], limit: int | None) -> list[bytes]:
    """Encode rows ordered by time, stable, the first ``limit`` of them."""
    lines = []
    for row in sorted(rows, key=lambda row: (row.ts, row.number))[:limit]:
        event: dict[str, object] = {
            "event_id": str(row.number),
            "type": row.type,
            "user_id": row.user_id,
            "item_id": row.item_id,
            "ts": row.ts,
        }
        if row.watch_ms >= 0:
            event["watch_ms"] = row.watch_ms
            event["duration_ms"] = row.duration_ms
        lines.append(_encode(event))
    return lines


def _open_text(path: Path) -> io.TextIOBase:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _records(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the named columns of each data line; a wrong header or short line is an error."""
    with _open_text(path) as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        missing = [column for column in columns if column not in header]
        if missing:
            message = (
                f"{path}, line 1: expected columns {', '.join(columns)}; "
                f"{', '.join(missing)} missing from {', '.join(header) or 'an empty file'}"
            )
            raise AdapterError(message)
        places = [header.index(column) for column in columns]
        for number, record in enumerate(reader, start=2):
            if len(record) != len(header):
                message = (
                    f"{path}, line {number}: expected {len(header)} columns, got {len(record)}"
                )
                raise AdapterError(message)
            yield tuple(record[place] for place in places)


def _number(path: Path, line: int, column: str, text: str, largest: float) -> float:
    """Parse a finite number in [0, largest]."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= largest:
        message = (
            f"{path}, line {line}, column {column}: expected a number from 0 to {largest:g}, "
            f"got {text!r}"
        )
        raise AdapterError(message)
    return value


# The year 2100 in seconds: beyond it a column holds milliseconds or something else.
_LAST_SECOND = 4_102_444_800.0


def _ratings(path: Path, item_column: str, best: float) -> list[_Row]:
    rows: list[_Row] = []
    columns = ("user_id", item_column, "rating", "timestamp")
    for line, (user, item, rating, time) in enumerate(_records(path, columns), start=2):
        share = _number(path, line, "rating", rating, best) / best
        rows.append(
            _Row(
                number=len(rows),
                ts=int(_number(path, line, "timestamp", time, _LAST_SECOND)) * 1000,
                type="watch",
                user_id=user,
                item_id=item,
                watch_ms=round(share * _RATED_MS),
                duration_ms=_RATED_MS,
            )
        )
    return rows


def _ml_100k(folder: Path) -> list[_Row]:
    return _ratings(folder / "ratings.csv.gz", "item_id", 5.0)


def _movietweetings(folder: Path) -> list[_Row]:
    return _ratings(folder / "ratings.csv.gz", "movie_id", 10.0)


_ARTICLE_TYPES = {
    "VIEW": "watch",
    "LIKE": "like",
    "COMMENT CREATED": "comment",
    "BOOKMARK": "share",
    "FOLLOW": "like",
}


def _article_actions(folder: Path) -> list[_Row]:
    path = folder / "events.csv.gz"
    columns = ("timestamp", "eventType", "contentId", "personId")
    rows: list[_Row] = []
    for line, (time, kind, item, user) in enumerate(_records(path, columns), start=2):
        if kind not in _ARTICLE_TYPES:
            message = (
                f"{path}, line {line}, column eventType: expected one of "
                f"{', '.join(_ARTICLE_TYPES)}, got {kind!r}"
            )
            raise AdapterError(message)
        viewed = kind == "VIEW"
        rows.append(
            _Row(
                number=len(rows),
                ts=int(_number(path, line, "timestamp", time, _LAST_SECOND)) * 1000,
                type=_ARTICLE_TYPES[kind],
                user_id=user,
                item_id=item,
                watch_ms=_VIEWED_MS if viewed else -1,
                duration_ms=_CLICK_MS if viewed else -1,
            )
        )
    return rows


def _click(number: int, ts: int, user: str, item: str) -> _Row:
    return _Row(
        number=number,
        ts=ts,
        type="watch",
        user_id=user,
        item_id=item,
        watch_ms=_CLICK_MS,
        duration_ms=_CLICK_MS,
    )


def _yoochoose(folder: Path) -> list[_Row]:
    rows: list[_Row] = []
    for part, name in (("train", "train_full.csv.gz"), ("test", "test.csv.gz")):
        path = folder / name
        records = _records(path, ("SessionId", "ItemId", "Time"))
        for line, (session, item, time) in enumerate(records, start=2):
            ts = round(_number(path, line, "Time", time, _LAST_SECOND) * 1000)
            # Sessions of the two files are numbered apart: one user per file and session.
            rows.append(_click(len(rows), ts, f"{part}-{session}", item))
    return rows


def _news_clicks(folder: Path) -> list[_Row]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        message = "reading clicks.parquet needs pyarrow: pip install 'headwater[evaluation]'"
        raise AdapterError(message) from error
    path = folder / "clicks.parquet"
    columns = ["user_id", "item_id", "ts"]
    try:
        batches = parquet.ParquetFile(path).iter_batches(columns=columns, batch_size=65_536)
        tables = [[batch.column(name).to_pylist() for name in columns] for batch in batches]
    except (pyarrow.ArrowInvalid, KeyError) as error:
        message = f"{path}: expected a parquet file with columns {', '.join(columns)}; {error}"
        raise AdapterError(message) from error
    rows: list[_Row] = []
    for table in tables:
        for user, item, time in zip(*table, strict=True):
            ts = _number(path, len(rows) + 1, "ts", str(time), _LAST_SECOND * 1000)
            rows.append(_click(len(rows), int(ts), str(user), str(item)))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A known layout of a public data set.

    Attributes:
        name: Name of the layout, used in summaries.
        files: File names whose presence in a folder identifies the layout.
        repeats: Whether users consume an item again (the default of ``--repeats``).
        read: From folder to rows in the order of the file.
    """

    name: str
    files: tuple[str, ...]
    repeats: bool
    read: Callable[[Path], list[_Row]]


DATA_SETS = (
    DataSet(name="ml-100k", files=("ratings.csv.gz", "ml-100k.item"), repeats=False, read=_ml_100k),
    DataSet(
        name="movietweetings-100k",
        files=("ratings.csv.gz", "movies.dat"),
        repeats=True,
        read=_movietweetings,
    ),
    DataSet(name="article-actions", files=("events.csv.gz",), repeats=True, read=_article_actions),
    DataSet(
        name="yoochoose-100k",
        files=("train_full.csv.gz", "test.csv.gz"),
        repeats=True,
        read=_yoochoose,
    ),
    DataSet(name="news-clicks", files=("clicks.parquet",), repeats=True, read=_news_clicks),
)


def recognise(folder: Path) -> DataSet:
    """Return the layout of a data set's folder.

    Raises:
        AdapterError: If no known layout fits; says which files each layout expects.
    """
    for data_set in DATA_SETS:
        if all((folder / name).is_file() for name in data_set.files):
            return data_set
    known = "; ".join(f"{each.name}: {', '.join(each.files)}" for each in DATA_SETS)
    message = f"{folder}: expected a wire log or the files of a known data set ({known})"
    raise AdapterError(message)


def wire_lines(folder: Path, *, limit: int | None = None) -> list[bytes]:
    """Read a data set's folder as a wire log: one JSON object per element, ordered by ``ts``.

    Args:
        folder: The data set's folder, with its files named as published.
        limit: Take only the first rows by time.

    Raises:
        AdapterError: The folder or a row does not fit; names file, line and column.
    """
    return _lines(recognise(folder).read(folder), limit)
