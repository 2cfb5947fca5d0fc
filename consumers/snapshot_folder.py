"""LocalFolder: snapshots as files of this machine that survive a power cut.

A file is written under a temporary name, flushed to disk, renamed, and the folder flushed. A
writer holds a lock on its temporary file, so whoever finds one unlocked knows that its writer died.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from consumers.crash_points import crash_point
from state.snapshot import Piece
from stream.errors import ServerUnreachable

logger = logging.getLogger(__name__)

_TEMPORARY = ".writing"
_MAX_OPEN_TRIES = 100


class LocalFolder:
    """Files of one folder, shared by the workers of one machine; see ``snapshots.SnapshotFiles``.

    Args:
        folder: Made where missing.

    Attributes:
        place: Its path.
        was_made: Whether it was missing at first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = str(folder)
        self.was_made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        self._device = folder.stat().st_dev
        self._remove_dead_writes()

    def make_again(self) -> None:
        """Make the folder where it was deleted since; a volume that was unmounted is left alone.

        What holds it must be there, on the same file system as before: only then is what is
        written now where others look for it.
        """
        with suppress(OSError):  # What cannot be made is said by whoever lists or writes.
            if not self._folder.exists() and self._folder.parent.stat().st_dev == self._device:
                self._folder.mkdir()
                logger.error("made the snapshot folder %s again: it was deleted", self.place)

    def list(self) -> Sequence[str]:
        """Return the names of all files.

        Raises:
            ServerUnreachable: The folder is gone or closed: that says nothing about what it held.
        """
        try:
            self._check_volume()
            return [entry.name for entry in self._folder.iterdir()]
        except OSError as error:
            message = (
                f"expected the snapshot folder {self.place} to be there, came {error.strerror}: "
                "was it deleted or unmounted, may the worker list it? A start makes a missing one "
                "and reads the log from its start"
            )
            raise ServerUnreachable(message) from error

    def read(self, name: str) -> bytes:
        """Return a file; FileNotFoundError where it is gone."""
        return (self._folder / name).read_bytes()

    def write(self, name: str, pieces: Sequence[Piece]) -> int:
        """Make a file durable, whole or not at all; return its bytes.

        1. Write to a temporary file, flush it. 2. Rename. 3. Flush the folder.

        Raises:
            OSError: Not written; nothing else has changed.
        """
        self.make_again()
        self._check_volume()
        size = 0
        with self._temporary(name) as (file, path):
            for piece in pieces:  # 1.
                view = memoryview(piece).cast("B")
                file.write(view)
                size += view.nbytes
                crash_point("mid-snapshot")
            file.flush()
            os.fsync(file.fileno())
            crash_point("before-rename")
            path.rename(self._folder / name)  # 2.
        crash_point("after-rename")
        self._flush_folder()  # 3.
        return size

    def remove(self, name: str) -> None:
        """Remove a file; nothing to do where it is gone."""
        (self._folder / name).unlink(missing_ok=True)

    def _check_volume(self) -> None:
        """Refuse the empty folder that is left where a volume was mounted; it may come back.

        Raises:
            OSError: What was written there now would be covered by the volume later.
        """
        device = self._folder.stat().st_dev
        if device != self._device and not any(self._folder.iterdir()):
            raise OSError(errno.ENODEV, "an empty folder of another disk: a volume was unmounted")
        self._device = device

    def _remove_dead_writes(self) -> None:
        """Remove temporary files whose writer died."""
        removed = 0
        for path in self._folder.glob(f"*{_TEMPORARY}"):
            try:
                with path.open("rb+") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                    removed += 1
            except OSError:
                continue  # Its writer lives, has just finished, or it is not ours to remove.
        if removed:
            logger.warning("removed %d unfinished snapshots of writers that died", removed)

    @contextmanager
    def _temporary(self, name: str) -> Iterator[tuple[BinaryIO, Path]]:
        """Give a locked, empty file that nobody else writes; removed unless renamed."""
        for _ in range(_MAX_OPEN_TRIES):
            path = self._folder / f"{name}.{secrets.token_hex(8)}{_TEMPORARY}"
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
