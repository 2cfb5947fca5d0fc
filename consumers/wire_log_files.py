"""Wire logs as files: JSON lines, plain, ``.gz``, ``.zst`` or standard input, as bytes or records.

What a line holds is not judged here: a bad one is produced as it is and becomes a dead letter.
"""

from __future__ import annotations

import gzip
import io
import os
import select
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec
import zstandard

from consumers.produce import Record
from stream.errors import ConfigurationError
from stream.wire import MAX_TIME_MS

_CHUNK_BYTES = 1 << 18
# Packed bytes unpacked at a time: four of them may be a block of 128 KiB.
_ZST_BYTES = 1 << 12
# Bytes of one line: Kafka takes 1 MiB a record with its framing; events are 16 KiB at most.
MAX_LINE_BYTES = 900_000
# In front of UTF-8, as editors on Windows write it.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# How long a silent pipe may keep the reader, in s.
_PIPE_WAIT_S = 0.2


class _Head(msgspec.Struct):
    user_id: str
    ts: int = -1


_decode_head = msgspec.json.Decoder(_Head).decode


def read_chunks(name: str) -> Iterator[bytes]:
    """Yield a log's decompressed bytes in pieces; ``-`` is standard input.

    A silent pipe, named or not, yields empty pieces: its reader can look whether to stop.

    Raises:
        ConfigurationError: The file is missing, is a folder, or is not what its ending says.
    """
    if name == "-":
        yield from _read_pipe(sys.stdin.fileno())
        return
    path = Path(name)
    if path.is_dir() or not path.exists():
        what = "a folder" if path.is_dir() else "nothing"
        message = f"expected a wire log at {name}, found {what}"
        raise ConfigurationError(message)
    try:
        with path.open("rb") as file:
            if path.suffix == ".zst":
                yield from _unpack_zst(file)
            elif path.suffix == ".gz":
                with gzip.open(file) as unzipped:
                    yield from _pieces(io.BufferedReader(unzipped))
            elif path.is_fifo():
                yield from _read_pipe(file.fileno())
            else:
                yield from _pieces(file)
    except (gzip.BadGzipFile, zlib.error, EOFError, zstandard.ZstdError) as error:
        message = f"{name}: expected {path.suffix} data, got a damaged or other file ({error})"
        raise ConfigurationError(message) from error
    except OSError as error:
        message = f"{name}: expected a readable file, got {error.strerror or error}"
        raise ConfigurationError(message) from error


def split_lines(chunks: Iterable[bytes], name: str = "-") -> Iterator[list[bytes]]:
    r"""Yield the lines that each piece completes, without their ends; empty lines are left out.

    Doctest:
        >>> list(split_lines([b"a\nb", b"c\r\n\nd"]))
        [[b'a'], [b'bc'], [b'd']]
        >>> list(split_lines([b"\xef\xbb\xbfa\n"]))  # A byte order mark is no part of a line.
        [[b'a']]

    Args:
        chunks: Pieces of a log.
        name: The log's, for messages.

    Raises:
        ConfigurationError: A line is far too long, or the first one is several that end in CR.
    """
    rest = b""
    number = 0
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if number == 0 and b"}\r{" in (lines[0] if lines else rest):
            message = (
                f"{name}: expected lines that end in LF or CR LF, got CR alone: convert the file "
                "(tr '\\r' '\\n')"
            )
            raise ConfigurationError(message)
        if number == 0 and lines:
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
        number += len(lines)
        if len(rest) > MAX_LINE_BYTES or any(len(line) > MAX_LINE_BYTES for line in lines):
            message = (
                f"{name}, near line {number + 1}: expected lines of at most {MAX_LINE_BYTES} "
                "bytes, one is longer: is this a wire log (one JSON object a line)?"
            )
            raise ConfigurationError(message)
        yield [line for line in (line.rstrip(b"\r") for line in lines) if line]
    if rest:
        yield [rest.removeprefix(_BYTE_ORDER_MARK) if number == 0 else rest]


def records_of(blocks: Iterable[list[bytes]], start_index: int = 0) -> Iterator[list[Record]]:
    """Yield blocks of lines as blocks of records.

    The key is the line's ``user_id``, the time its ``ts``; a line without a readable user has no
    key, one without a time that can be one takes the previous line's.

    Args:
        blocks: Lines without empty ones; an empty block is passed on.
        start_index: Lines to skip.

    Raises:
        ConfigurationError: There are fewer lines than those to skip.
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
                time_ms = head.ts if 0 <= head.ts < MAX_TIME_MS else time_ms
            block.append((time_ms, "interactions", key, line, False))
        skip = 0 if lines else skip
        yield block
    if skip:
        message = (
            f"--start {start_index}: expected a log of at least as many lines, got "
            f"{start_index - skip}; is it the earlier run's? --limit counts skipped lines too"
        )
        raise ConfigurationError(message)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _unpack_zst(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what the frames hold; EOFError where the last one is cut off.

    zstandard's own reader ends a cut-off frame without a word.
    """
    frame = None
    while packed := file.read(_ZST_BYTES):
        while packed:
            if frame is None:
                frame = zstandard.ZstdDecompressor().decompressobj()
            if chunk := frame.decompress(packed):
                yield chunk
            packed = frame.unused_data
            if frame.eof:
                frame = None
    if frame is not None:
        message = "the file ends within a frame"
        raise EOFError(message)


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
