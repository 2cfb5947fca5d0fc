"""SnapshotStore: states of partitions, each whole or not there, the last few kept.

Only what :meth:`SnapshotStore.write` has returned from is durable, and only then may an offset be
committed. What is read is trusted for its checksum, never for being listed. Where the bytes lie is
another's concern: a folder of this machine (``consumers.snapshot_folder``) or an object store
(``consumers.snapshot_objects``). Absent on purpose: pickle, a database, overwriting.

Everything blocks: call it on a thread of its own, not on the event loop.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from consumers.crash_points import crash_point
from consumers.snapshot_folder import LocalFolder
from consumers.snapshot_objects import ObjectFolder
from consumers.store_calls import StoreCalls
from state.snapshot import Piece, SnapshotInvalid, SnapshotSchema, decode, encode
from stream.errors import ConfigurationError, ServerUnreachable, StateMismatch

logger = logging.getLogger(__name__)

_SUFFIX = ".snapshot"
_KIND = re.compile(r"[a-z][a-z0-9-]*")
# A URL that lacks a slash: ``s3:/bucket``.
_HALF_URL = re.compile(r"[a-z][a-z0-9+.-]+:(?!//)", re.IGNORECASE)
_NAME = re.compile(r"([a-z][a-z0-9-]*)\.(\d{5})\.(\d{16})\.(\d{10})\.snapshot")


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


class SnapshotFiles(Protocol):
    """Where snapshots lie: names and bytes.

    Attributes:
        place: For a person, without secrets.
        was_made: Whether the place was missing when it was opened.
    """

    place: str
    was_made: bool

    def make_again(self) -> None:
        """Make the place where it was deleted since it was opened."""
        ...

    def list(self) -> Sequence[str]:
        """Return the names of all files."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file; FileNotFoundError where it is gone."""
        ...

    def write(self, name: str, pieces: Sequence[Piece]) -> int:
        """Make a file durable, whole or not at all; return its bytes. OSError where it cannot."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; nothing to do where it is gone."""
        ...


def open_files(place: Path | str) -> SnapshotFiles:
    """Return the folder that a path, a ``file://`` URL or another URL of fsspec's names.

    Raises:
        ConfigurationError: It names none of these, or a folder that cannot be made.
        ServerUnreachable: The store does not answer.
    """
    text = str(place)
    refuse_half_url(text)
    text = text.removeprefix("file://")
    if "://" in text:
        return ObjectFolder(text)
    try:
        return LocalFolder(Path(text))
    except OSError as error:
        message = (
            "HEADWATER_DATA_DIR, HEADWATER_WORKER__SNAPSHOTS: expected a folder for snapshots that "
            f"is there or can be made, got {text}: {error.strerror or error}"
        )
        raise ConfigurationError(message) from error


def refuse_half_url(place: str) -> None:
    """Refuse a URL that lacks a slash.

    Raises:
        ConfigurationError: It would be a folder of that name.
    """
    if _HALF_URL.match(place):
        message = (
            f"HEADWATER_WORKER__SNAPSHOTS: expected a folder or a URL with ://, got {place}, which "
            "would be a folder of that name"
        )
        raise ConfigurationError(message)


class SnapshotStore:
    """Snapshots in one place, shared by all workers that reach it.

    Args:
        place: A folder, made where missing, or a URL.
        keep: Snapshots kept per kind and partition; at least 2, so that a broken newest one has
            one before it.
        timeout_s: How long a call by way of ``calls`` may take.

    Attributes:
        place: For a person, without secrets.
        was_made: Whether the place was missing when it was opened.
        calls: Runs this store's methods, which block, from a loop.
    """

    def __init__(self, place: Path | str, *, keep: int = 2, timeout_s: float = 60.0) -> None:
        assert keep >= 1
        self._files = open_files(place)
        self.place = self._files.place
        self.was_made = self._files.was_made
        self.calls = StoreCalls(self.place, timeout_s=timeout_s)
        self._keep = keep

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

        1. Encode (checksummed). 2. Write, whole or not at all. 3. Remove what is beyond the last
        ``keep``.

        Raises:
            OSError: Not written (store full, ...); what was there before is untouched.
        """
        assert _KIND.fullmatch(kind)
        name = SnapshotName(
            kind=kind, partition=partition, next_offset=next_offset, generation=generation
        )
        size = self._files.write(name.file, encode(arrays, dict(meta)))  # 1. 2.
        self._prune(name)  # 3.
        crash_point("after-prune")
        return size

    def newest_valid(self, kind: str, partition: int) -> Snapshot | None:
        """Return the newest snapshot that can be read, the one before where it cannot; or None.

        Every file passed over is an ERROR in the log. None with files there means that all are
        broken: the caller starts at the log's start, loudly.

        Raises:
            StateMismatch: A whole one is of a schema that this version neither reads nor migrates:
                passing it over would quietly go back in time. Or it is another one than its name
                says.
            ServerUnreachable: The store does not answer; nothing is known of what it holds.
        """
        names = self.names(kind, partition)
        for skipped, name in enumerate(reversed(names)):
            try:
                arrays, meta = decode(self._files.read(name.file))
            except FileNotFoundError:
                continue  # Another worker pruned it meanwhile.
            except SnapshotSchema as error:
                message = (
                    f"snapshot {name.file} in {self.place}: {error}; run a Headwater that reads "
                    "it, or move the file away: then the one before it counts, or the log's start"
                )
                raise StateMismatch(message) from error
            except (SnapshotInvalid, OSError) as error:
                logger.error(
                    "snapshot %s cannot be used, trying the one before: %s", name.file, error
                )
                continue
            self._refuse_renamed(name, meta)
            return Snapshot(name=name, arrays=dict(arrays), meta=dict(meta), num_skipped=skipped)
        if names:
            logger.error(
                "none of the %d snapshots of %s/%d in %s can be used: restore a copy, or let the "
                "state be rebuilt from the log's start",
                len(names),
                kind,
                partition,
                self.place,
            )
        return None

    def _refuse_renamed(self, name: SnapshotName, meta: Mapping[str, Any]) -> None:
        """Refuse a whole file under another one's name: nothing else tells item partitions apart.

        Raises:
            StateMismatch: What it says of itself is not what its name says.
        """
        says = {"kind": name.kind, "partition": name.partition, "next_offset": name.next_offset}
        found = {each: meta.get(each, said) for each, said in says.items()}
        if found == says:
            return
        message = (
            f"snapshot {name.file} in {self.place}: expected one of {name.kind}/{name.partition} "
            f"at offset {name.next_offset}, as its name says, found one of {found['kind']}/"
            f"{found['partition']} at {found['next_offset']}: was it renamed? Give it its own name "
            "back or move it away: then the one before it counts, or the log's start"
        )
        raise StateMismatch(message)

    def names(self, kind: str, partition: int) -> list[SnapshotName]:
        """Return the snapshots of one partition, oldest first, valid or not."""
        parsed = map(SnapshotName.parse, self._files.list())
        return sorted(
            name
            for name in parsed
            if name is not None and (name.kind, name.partition) == (kind, partition)
        )

    def all_names(self, kind: str) -> list[SnapshotName]:
        """Return every snapshot of a kind, of all partitions, valid or not."""
        parsed = map(SnapshotName.parse, self._files.list())
        return sorted(name for name in parsed if name is not None and name.kind == kind)

    def newest_offsets(self) -> dict[tuple[str, int], int]:
        """Return each (kind, partition)'s highest next offset, of valid snapshots and others.

        One listing; a folder that was deleted is made again first.

        Raises:
            ServerUnreachable: The store does not answer.
        """
        self._files.make_again()
        names = filter(None, map(SnapshotName.parse, self._files.list()))
        return {(name.kind, name.partition): name.next_offset for name in sorted(names)}

    def read(self, name: SnapshotName) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of one snapshot; None where it is gone.

        Raises:
            SnapshotInvalid: It is there, and broken.
            SnapshotSchema: It is whole, and of a version that is not read here.
        """
        try:
            arrays, _ = decode(self._files.read(name.file))
        except FileNotFoundError:
            return None
        return dict(arrays)

    def _prune(self, written: SnapshotName) -> None:
        """Remove all but the newest ``keep`` and the one just written.

        A writer that was overtaken (a zombie, or a log that starts anew) may have written a lower
        offset than what is kept; its own file stays until its next write.

        Raises:
            OSError: One could not be removed, nor could it next time; all others are.
            ServerUnreachable: The store does not answer, or lets us remove nothing.
        """
        failure: Exception | None = None
        for name in self.names(written.kind, written.partition)[: -self._keep]:
            if name != written:
                try:
                    self._files.remove(name.file)
                except (OSError, ServerUnreachable) as error:
                    failure = failure or error
        if failure is not None:
            raise failure
