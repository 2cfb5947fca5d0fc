"""Wire logs as files: JSON lines, plain, ``.gz``, ``.zst`` or standard input, as bytes or records.

What a line holds is not judged here: a bad one is produced as it is and becomes a dead letter.
"""

from __future__ import annotations

import gzip
import io
import os
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
import zstandard

from consumers.produce import Record
from stream.errors import ConfigurationError

_CHUNK_BYTES = 1 << 18
# Bytes of one line: Kafka takes 1 MiB a record with its framing; events are 16 KiB at most.
MAX_LINE_BYTES = 900_000
# How long a silent pipe may keep the reader, in s.
_PIPE_WAIT_S = 0.2


class _Head(msgspec.Struct):
    user_id: str
    ts: int = -1


_decode_head = msgspec.json.Decoder(_Head).decode


def read_chunks(name: str) -> Iterator[bytes]:
    """Yield a log's decompressed bytes in pieces; ``-`` is standard input.

    A silent pipe yields empty pieces, so that a reader can look whether it should stop.

    Raises:
        ConfigurationError: The file is missing, is a folder, or is not what its ending says.
    """
    if name == "-":
        yield from _read_pipe(sys.stdin.fileno())
        return
    path = Path(name)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "nothing"
        message = f"expected a wire log at {name}, found {what}"
        raise ConfigurationError(message)
    try:
        with _open(path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except (gzip.BadGzipFile, EOFError, zstandard.ZstdError) as error:
        message = f"{name}: expected {path.suffix} data, got a damaged or other file ({error})"
        raise ConfigurationError(message) from error


def split_lines(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    r"""Yield the lines that each piece completes, without their ends; empty lines are left out.

    Doctest:
        >>> list(split_lines([b"a\nb", b"c\r\n\nd"]))
        [[b'a'], [b'bc'], [b'd']]
    """
    rest = b""
    number = 0
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        number += len(lines)
        if len(rest) > MAX_LINE_BYTES or any(len(line) > MAX_LINE_BYTES for line in lines):
            message = (
                f"near line {number + 1}: expected lines of at most {MAX_LINE_BYTES} bytes, one is "
                "longer: is this a wire log (one JSON object a line)?"
            )
            raise ConfigurationError(message)
        yield [line for line in (line.rstrip(b"\r") for line in lines) if line]
    if rest:
        yield [rest]


def records_of(blocks: Iterable[list[bytes]], start_index: int = 0) -> Iterator[list[Record]]:
    """Yield blocks of lines as blocks of records.

    The key is the line's ``user_id``, the time its ``ts``; a line without a readable user has no
    key, one without a time takes the previous line's.

    Args:
        blocks: Lines without empty ones; an empty block is passed on.
        start_index: Lines to skip.
    """
    skip = start_index
    time_ms = 0
    for lines in blocks:
        if skip >= len(lines) and lines:
            skip -= len(lines)
            continue
        block: list[Record] = []
        for line in lines[skip:]:
            key: bytes | None = None
            try:
                head = _decode_head(line)
            except (msgspec.DecodeError, ValueError, RecursionError):
                pass  # Produced as it is: the worker says what is wrong with it.
            else:
                key = head.user_id.encode()
                time_ms = head.ts if head.ts >= 0 else time_ms
            block.append((time_ms, "interactions", key, line, False))
        skip = 0 if lines else skip
        yield block


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        if path.suffix == ".gz":
            with gzip.open(raw) as unzipped:
                yield io.BufferedReader(unzipped)
        elif path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(
                raw, read_across_frames=True
            ) as expanded:
                yield expanded
        else:
            yield raw


def _read_pipe(descriptor: int) -> Iterator[bytes]:
    while True:
        ready, _, _ = select.select([descriptor], [], [], _PIPE_WAIT_S)
        if not ready:
            yield b""
            continue
        chunk = os.read(descriptor, _CHUNK_BYTES)
        if not chunk:
            return
        yield chunk
