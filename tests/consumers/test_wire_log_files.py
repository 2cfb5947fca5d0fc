"""Wire logs as files: every form gives the same lines, bad lines pass through."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from consumers import wire_log_files
from consumers.produce_report import Record
from consumers.wire_log_files import MAX_LINE_BYTES, read_chunks, records_of, split_lines
from stream.errors import ConfigurationError

LINES = [
    b'{"user_id":"u1","ts":10,"x":1}',
    b"not json",
    b'{"user_id":"\\u00fc","ts":30}',
    b'{"user_id":"u2"}',
]


def read(name: str, start_index: int = 0) -> Iterator[list[Record]]:
    return records_of(split_lines(read_chunks(name)), start_index)


def write(folder: Path, ending: str) -> str:
    data = b"\n".join(LINES) + b"\n"
    path = folder / f"log.jsonl{ending}"
    if ending == ".gz":
        # Two members, as `cat a.gz b.gz` makes them.
        path.write_bytes(gzip.compress(data[:20]) + gzip.compress(data[20:]))
    elif ending == ".zst":
        pack = zstandard.ZstdCompressor().compress
        path.write_bytes(pack(data[:20]) + pack(data[20:]))
    else:
        path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_every_form_gives_the_same_records(tmp_path: Path, ending: str) -> None:
    found = [record for block in read(write(tmp_path, ending)) for record in block]
    assert found == [
        (10, "interactions", b"u1", LINES[0], False),
        (10, "interactions", None, LINES[1], False),
        (30, "interactions", "ü".encode(), LINES[2], False),
        (30, "interactions", b"u2", LINES[3], False),
    ]


@pytest.mark.parametrize("start", range(len(LINES) + 1))
def test_a_log_resumes_at_any_line(tmp_path: Path, start: int) -> None:
    name = write(tmp_path, "")
    values = [record[3] for block in read(name, start) for record in block]
    assert values == LINES[start:]


def test_a_log_that_ends_before_where_it_should_go_on_is_another_one(tmp_path: Path) -> None:
    name = write(tmp_path, "")
    with pytest.raises(ConfigurationError, match=rf"--start 99: .* got {len(LINES)};"):
        list(read(name, 99))


@given(st.lists(st.binary(max_size=8)), st.lists(st.integers(0, 60), max_size=8))
def test_lines_do_not_depend_on_where_pieces_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    lines = [line.replace(b"\n", b"").replace(b"\r", b"") for line in lines]
    data = b"\n".join(lines)
    borders = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in zip(borders, borders[1:], strict=False)]
    found = [line for block in split_lines(pieces) for line in block]
    assert found == [line for line in lines if line]


def test_resuming_over_many_pieces_skips_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_log_files, "_CHUNK_BYTES", 7)
    name = write(tmp_path, "")
    assert [record[3] for block in read(name, 2) for record in block] == LINES[2:]


def test_standard_input_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, LINES[0] + b"\n")
    with os.fdopen(reading) as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        blocks = read("-")
        assert [record[3] for record in next(blocks)] == [LINES[0]]
        # Nobody writes: the reader is given empty blocks, so that it can stop.
        assert next(blocks) == []
        os.close(writing)
        assert [record for block in blocks for record in block] == []


def test_missing_and_damaged_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="found nothing"):
        list(read_chunks(str(tmp_path / "none")))
    with pytest.raises(ConfigurationError, match="found a folder"):
        list(read_chunks(str(tmp_path)))
    for ending in (".gz", ".zst"):
        path = tmp_path / f"bad{ending}"
        path.write_bytes(b"this is neither gzip nor zstd")
        with pytest.raises(ConfigurationError, match=f"expected {ending} data"):
            list(read_chunks(str(path)))


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_file_cut_off_or_changed_anywhere_says_so(tmp_path: Path, ending: str) -> None:
    data = random.Random(3).randbytes(2_000) * 40
    whole = gzip.compress(data) if ending == ".gz" else _pack_with_checksum(data)
    path = tmp_path / f"log{ending}"
    path.write_bytes(whole)
    assert b"".join(read_chunks(str(path))) == data
    for at in (2, len(whole) // 3, len(whole) - 1):
        changed = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        for damaged in (whole[:at], changed):
            path.write_bytes(damaged)
            with pytest.raises(ConfigurationError, match=f"expected {ending} data"):
                list(read_chunks(str(path)))


def _pack_with_checksum(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def test_a_named_pipe_is_a_wire_log(tmp_path: Path) -> None:
    name = tmp_path / "pipe"
    os.mkfifo(name)
    writing = os.open(name, os.O_RDWR)  # Both ways: nobody waits for the other side.
    chunks = read_chunks(str(name))
    os.write(writing, b"one line\n")
    assert next(chunks) == b"one line\n"
    assert next(chunks) == b""
    os.close(writing)
    assert list(chunks) == []


def test_a_time_that_is_none_is_the_line_befores() -> None:
    lines = [b'{"user_id":"u","ts":%s}' % ts for ts in (b"7", b"-1", b"9" * 400, b"1e400", b"8")]
    (records,) = records_of([lines])
    assert [record[0] for record in records] == [7, 7, 7, 7, 8]


def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="near line 1"):
        list(split_lines([b"x" * MAX_LINE_BYTES, b"x"]))


@pytest.mark.parametrize("num_lines", [2, 40_000])  # Less than a piece, and several.
def test_lines_that_end_in_cr_alone_are_named(tmp_path: Path, num_lines: int) -> None:
    path = tmp_path / "old.jsonl"
    path.write_bytes(b'{"event_id":"e","type":"like"}\r' * num_lines)
    with pytest.raises(ConfigurationError, match="old.jsonl: expected lines that end in LF or CR"):
        list(split_lines(read_chunks(str(path)), str(path)))


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigurationError, match="/proc/self/mem: expected a readable file, got"):
        list(read_chunks("/proc/self/mem"))


@pytest.mark.parametrize("pieces", [[b"\xef\xbb", b"\xbfa\nb\n"], [b"\xef\xbb\xbfa\nb"]])
def test_a_byte_order_mark_is_no_part_of_the_first_line(pieces: list[bytes]) -> None:
    assert [*chain(*split_lines(pieces))] == [b"a", b"b"]
    assert [*chain(*split_lines([b"\xef\xbb\xbfa"]))] == [b"a"]
