"""SnapshotStore: states of partitions as files that are whole or not there.

A file is written under a temporary name, flushed to disk, renamed, and the folder flushed: after
:meth:`SnapshotStore.write` returns the snapshot survives a power cut, and only then may an offset
be committed. A writer holds a lock on its temporary file, so whoever finds one unlocked knows that
its writer died. Absent on purpose: pickle, a database, overwriting.

Everything blocks on the disk: call it on a thread of its own, not on the event loop.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from consumers.crash_points import crash_point
from state.snapshot import SnapshotInvalid, decode, encode

logger = logging.getLogger(__name__)

_SUFFIX = ".snapshot"
_TEMPORARY = ".writing"
_KIND = re.compile(r"[a-z][a-z0-9-]*")
_NAME = re.compile(r"([a-z][a-z0-9-]*)\.(\d{5})\.(\d{16})\.(\d{10})\.snapshot")
_MAX_OPEN_TRIES = 100


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SnapshotName:
    """What a file's name says; instances order by age within one kind and partition.

    Attributes:
        kind: ``users`` or ``items``.
        partition: Kafka partition.
        next_offset: The state's next offset.
        generation: Group generation of the writer: at one offset the later owner's file is newer.
    """

    kind: str
    partition: int
    next_offset: int
    generation: int

    @property
    def file(self) -> str:
        """The file's name.

        >>> SnapshotName(kind="users", partition=3, next_offset=42, generation=1).file
        'users.00003.0000000000000042.0000000001.snapshot'
        """
        return (
            f"{self.kind}.{self.partition:05d}.{self.next_offset:016d}"
            f".{self.generation:010d}{_SUFFIX}"
        )

    @classmethod
    def parse(cls, file: str) -> SnapshotName | None:
        """Return the parts of a file's name; None for any other file."""
        match = _NAME.fullmatch(file)
        if match is None:
            return None
        kind, *numbers = match.groups()
        partition, next_offset, generation = map(int, numbers)
        return cls(kind=kind, partition=partition, next_offset=next_offset, generation=generation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot whose checksum holds.

    Attributes:
        name: What its file's name says.
        arrays: Copies or read-only views, as ``state.snapshot.decode`` gives them.
        meta: As written.
        num_skipped: Newer files that could not be used.
    """

    name: SnapshotName
    arrays: dict[str, NDArray[Any]]
    meta: dict[str, Any]
    num_skipped: int


class SnapshotStore:
    """Snapshots in one folder, shared by the workers of one machine.

    Args:
        folder: Made where missing.
        keep: Snapshots kept per kind and partition; at least 2, so that a broken newest one has
            one before it.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        assert keep >= 1
        self._folder = folder
        self._keep = keep
        folder.mkdir(parents=True, exist_ok=True)
        self.remove_dead_writes()

    def write(
        self,
        kind: str,
        partition: int,
        next_offset: int,
        arrays: Mapping[str, NDArray[Any]],
        meta: Mapping[str, Any],
        *,
        generation: int,
    ) -> int:
        """Make a snapshot durable; return its size in bytes.

        1. Encode (checksummed). 2. Write to a temporary file, flush it. 3. Rename. 4. Flush the
        folder. 5. Remove what is beyond the last ``keep``.

        Raises:
            OSError: Not written (store full, ...); what was there before is untouched.
        """
        assert _KIND.fullmatch(kind)
        name = SnapshotName(
            kind=kind, partition=partition, next_offset=next_offset, generation=generation
        )
        chunks = encode(arrays, dict(meta))  # 1.
        size = 0
        with self._temporary(name) as (file, path):
            for chunk in chunks:  # 2.
                size += _write_all(file, chunk)
                crash_point("mid-snapshot")
            file.flush()
            os.fsync(file.fileno())
            crash_point("before-rename")
            path.rename(self._folder / name.file)  # 3.
        crash_point("after-rename")
        self._flush_folder()  # 4.
        self._prune(name)  # 5.
        crash_point("after-prune")
        return size

    def newest_valid(self, kind: str, partition: int) -> Snapshot | None:
        """Return the newest snapshot that can be read, the one before where it cannot; or None.

        Every file passed over is an ERROR in the log. None with files on disk means that all are
        broken: the caller starts at the log's start, loudly.
        """
        names = self.names(kind, partition)
        for skipped, name in enumerate(reversed(names)):
            try:
                arrays, meta = decode((self._folder / name.file).read_bytes())
            except FileNotFoundError:
                continue  # Another worker pruned it meanwhile.
            except (SnapshotInvalid, OSError) as error:
                logger.error(
                    "snapshot %s cannot be used, trying the one before: %s", name.file, error
                )
                continue
            return Snapshot(name=name, arrays=dict(arrays), meta=dict(meta), num_skipped=skipped)
        if names:
            logger.error(
                "none of the %d snapshots of %s/%d in %s can be used: restore a copy, or let the "
                "state be rebuilt from the log's start",
                len(names),
                kind,
                partition,
                self._folder,
            )
        return None

    def names(self, kind: str, partition: int) -> list[SnapshotName]:
        """Return the snapshots of one partition, oldest first, valid or not."""
        parsed = (SnapshotName.parse(entry.name) for entry in self._folder.iterdir())
        return sorted(
            name
            for name in parsed
            if name is not None and (name.kind, name.partition) == (kind, partition)
        )

    def remove_dead_writes(self) -> int:
        """Remove temporary files whose writer died; return how many."""
        removed = 0
        for path in self._folder.glob(f"*{_TEMPORARY}"):
            try:
                with path.open("rb+") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                    removed += 1
            except (BlockingIOError, FileNotFoundError):
                continue  # Its writer lives, or has just finished.
        if removed:
            logger.warning("removed %d unfinished snapshots of writers that died", removed)
        return removed

    @contextmanager
    def _temporary(self, name: SnapshotName) -> Iterator[tuple[BinaryIO, Path]]:
        """Give a locked, empty file that nobody else writes; removed unless renamed."""
        for _ in range(_MAX_OPEN_TRIES):
            path = self._folder / f"{name.file}.{secrets.token_hex(8)}{_TEMPORARY}"
            with path.open("xb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                # Between open and lock somebody may have taken the file for a dead one.
                if os.fstat(file.fileno()).st_nlink == 0:
                    continue
                try:
                    yield file, path
                finally:
                    path.unlink(missing_ok=True)
                return
        msg = f"expected to lock a temporary file in {self._folder}, others keep removing it"
        raise OSError(msg)

    def _flush_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _prune(self, written: SnapshotName) -> None:
        """Remove all but the newest ``keep`` and the one just written.

        A writer that was overtaken (a zombie, or a log that starts anew) may have written a lower
        offset than what is kept; its own file stays until its next write.
        """
        for name in self.names(written.kind, written.partition)[: -self._keep]:
            if name != written:
                (self._folder / name.file).unlink(missing_ok=True)


def _write_all(file: BinaryIO, chunk: Any) -> int:
    """Write one bytes-like chunk whole; return its size."""
    view = memoryview(chunk).cast("B")
    file.write(view)
    return view.nbytes
