"""Files of public data sets as rows of named columns; what does not fit names file, line, column.

Delimited text with or without a header line, JSON lines, any of them gzipped. Reading is one pass
in bounded memory. Absent on purpose: guessing of separators, encodings or types.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, NoReturn

import msgspec

from stream.wire import MAX_ID_CHARS, MAX_TIME_MS, MAX_WATCH_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# Bytes of one line: the widest public file (news with entities) stays far below.
_MAX_LINE_BYTES = 1 << 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_decode_json = msgspec.json.Decoder().decode


class AdapterError(ValueError):
    """A data set's file does not fit its documented columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a delimited file is written.

    Attributes:
        columns: The columns that are read, by the publisher's names.
        names: All columns in order, of a file without a header line; empty: line 1 names them.
        separator: Between two fields; one character where fields may be quoted.
        is_quoted: Whether a field in double quotes may hold the separator.
        encoding: Of the text.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...] = ()
    separator: str = ","
    is_quoted: bool = True
    encoding: str = "utf-8"


def find_file(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern, plain or ``.gz``, by name; of alternatives ``a|b`` the first.

    Of a file that is there both ways the plain one counts.
    """
    for each in pattern.split("|"):
        plain = sorted(path for path in folder.glob(each) if path.is_file())
        names = {path.name for path in plain}
        zipped = [path for path in sorted(folder.glob(f"{each}.gz")) if path.stem not in names]
        found = sorted({*plain, *zipped}, key=lambda path: path.name)
        if found:
            return found
    return []


class Table:
    """One file, read once from its beginning; knows the line it is at.

    Args:
        path: The file; ``.gz`` is unzipped.
        layout: What it should look like.

    Attributes:
        line: Number of the line read last, from 1.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self.line = 0
        self._names = layout.names
        self._begin = 0  # Lines of the rows that are done: a quoted field may go over several.

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """Yield the layout's columns of each row.

        Raises:
            AdapterError: A column is missing, a row has another number of fields, the encoding is
                wrong, or there is no row at all.
        """
        fields = self._fields()
        names = self._names = self.layout.names or tuple(next(fields, ()))
        places = self._places(names)
        had_row = False
        for row in fields:
            if len(row) != len(names):
                lacking = f", nothing for {names[len(row)]}" if len(row) < len(names) else ""
                self._fail(f"expected {len(names)} columns, got {len(row)}{lacking}")
            had_row = True
            yield tuple([row[place] for place in places])
        if not had_row:
            self._fail("expected rows, got none: the file has nothing to read")

    def reject(self, column: str, expected: str, got: object) -> NoReturn:
        """Raise the AdapterError of one field."""
        text = repr(got)
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        message = (
            f"{self.path}, line {self.line}, column {column}: expected {expected}, got {shown}"
        )
        raise AdapterError(message)

    def number(self, column: str, text: str, largest: float) -> float:
        """Parse a finite number in [0, largest]."""
        try:
            value = float(text) if "_" not in text else -1.0  # Python's own digits: 1_000.
        except ValueError:
            value = -1.0
        if not 0.0 <= value <= largest:
            self.reject(column, f"a number from 0 to {largest:g}", text)
        return value

    def flag(self, column: str, text: str) -> bool:
        """Parse a 0 or a 1."""
        if text not in ("0", "1"):
            self.reject(column, "0 or 1", text)
        return text == "1"

    def length_ms(self, column: str, text: str) -> int:
        """Parse a number of milliseconds up to seven days."""
        return round(self.number(column, text, MAX_WATCH_MS))

    def seconds(self, column: str, text: str) -> int:
        """Parse seconds since 1970 UTC, with or without a fraction; return ms."""
        return round(self.number(column, text, (MAX_TIME_MS - 1) / 1000) * 1000)

    def milliseconds(self, column: str, text: str) -> int:
        """Parse milliseconds since 1970 UTC."""
        return int(self.number(column, text, MAX_TIME_MS - 1))

    def moment(self, column: str, text: str) -> int:
        """Parse an ISO 8601 date or time (without a zone: UTC); return ms since 1970."""
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            self.reject(column, "a time like 2014-05-06T07:08:09.011Z", text)
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        return self.since_1970(column, value)

    def since_1970(self, column: str, value: datetime) -> int:
        """Return a time as ms since 1970, which it may not precede."""
        time_ms = (value - _EPOCH) // _MILLISECOND
        if not 0 <= time_ms < MAX_TIME_MS:
            self.reject(column, "a time from 1970 to 2099", value.isoformat())
        return time_ms

    def id(self, column: str, text: str) -> str:
        """Check an id: 1 to 64 characters, none of them a control character."""
        if not 1 <= len(text) <= MAX_ID_CHARS or not (text.isalnum() or _is_clean(text)):
            self.reject(column, f"an id of 1 to {MAX_ID_CHARS} printable characters", text)
        return text

    def lines(self) -> Iterator[str]:
        """Yield decoded lines, their ends kept."""
        encoding = self.layout.encoding
        self.line = 0
        try:
            with _open(self.path) as file:
                while raw := file.readline(_MAX_LINE_BYTES + 1):
                    self.line += 1
                    if self.line == 1 and b"\r" in raw.rstrip(b"\r\n") and raw[-1:] != b"\n":
                        self._fail(
                            "expected lines that end in LF or CR LF, got CR alone, as old "
                            "spreadsheets write them: convert the file (tr '\\r' '\\n')"
                        )
                    if len(raw) > _MAX_LINE_BYTES:
                        self._fail(f"expected at most {_MAX_LINE_BYTES} bytes, got more")
                    yield self._decode(raw, encoding)
        except (EOFError, OSError, zlib.error) as error:
            self._fail(f"expected a readable file, got {error}")

    def _decode(self, raw: bytes, encoding: str) -> str:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError as error:
            column = self._column_at(raw[: error.start])
            text = f"expected text in {encoding}{column}, got the bytes {raw[error.start :][:4]!r}"
            self._fail(text)
        return text.removeprefix("\ufeff") if self.line == 1 else text

    def _column_at(self, before: bytes) -> str:
        text = before.decode(self.layout.encoding)
        names, separator = self._names, self.layout.separator
        if self.layout.is_quoted:
            if self.line > self._begin + 1:
                return ""  # Within a quoted field over several lines.
            # Of no text at all csv makes a row without any field.
            place = max(0, len(next(csv.reader([text], delimiter=separator), ())) - 1)
        else:
            place = text.count(separator)
        return f" in column {names[place]}" if place < len(names) else f" in field {place + 1}"

    def _fields(self) -> Iterator[list[str]]:
        separator = self.layout.separator
        if not self.layout.is_quoted:
            for line in self.lines():
                yield line.rstrip("\r\n").split(separator)
            return
        try:
            for row in csv.reader(self.lines(), delimiter=separator, strict=True):
                yield row
                self._begin = self.line
        except csv.Error as error:
            last, self.line = self.line, self._begin + 1
            until = f" up to line {last}: is a quote closed?" if last > self.line else ""
            self._fail(f"expected fields between {separator!r}, got {error}{until}")

    def _places(self, names: tuple[str, ...]) -> list[int]:
        columns = self.layout.columns
        missing = [column for column in columns if column not in names]
        if missing:
            self.line = 1
            self._fail(
                f"expected columns {', '.join(columns)}; "
                f"{', '.join(missing)} missing from {', '.join(names) or 'an empty file'}"
            )
        return [names.index(column) for column in columns]

    def _fail(self, text: str) -> NoReturn:
        message = f"{self.path}, line {max(self.line, 1)}: {text}"
        raise AdapterError(message)


class JsonLines(Table):
    """A file of JSON objects, one a line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Layout(columns=(), is_quoted=False))

    def _column_at(self, before: bytes) -> str:
        return f" at byte {len(before) + 1}"

    def objects(self) -> Iterator[dict[str, Any]]:
        """Yield each line's object; empty lines are left out.

        Raises:
            AdapterError: A line is not a JSON object, or there is none.
        """
        had_object = False
        for line in self.lines():
            if not line.strip():
                continue
            try:
                found = _decode_json(line)
            except (msgspec.DecodeError, RecursionError) as error:
                self._fail(f"expected a JSON object, got {error}")
            if not isinstance(found, dict):
                self._fail(f"expected a JSON object, got {type(found).__name__}")
            had_object = True
            yield found
        if not had_object:
            self._fail("expected JSON objects, one a line, got an empty file")

    def text(self, found: dict[str, Any], column: str) -> str:
        """Return a field as text; a number as it is written, what is absent is an error."""
        value = found.get(column)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.reject(column, "a text or a number", value)
        return str(value)


def header_of(path: Path) -> tuple[str, ...]:
    """Return the first line's fields of a comma-separated file; none if they cannot be told.

    Raises:
        AdapterError: The file cannot be read.
    """
    table = Table(path, Layout(columns=()))
    try:
        for line in table.lines():
            return tuple(next(csv.reader([line]), ()))
    except csv.Error:
        pass
    return ()


def _is_clean(text: str) -> bool:
    return _CONTROL.search(text) is None


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return path.open("rb")
