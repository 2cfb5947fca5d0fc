"""ScratchFolder: a temporary folder that goes with its process, also after a kill -9.

Nobody can clean up after SIGKILL, so the next one does: a folder's owner holds a lock on a file in
it, and whoever makes a folder of the same kind first removes those whose lock nobody holds any
more. The lock is the kernel's: it ends with the process, and no pid can be mistaken for another.
Absent: any look into folders of other names, of other users, or without a lock file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

logger = logging.getLogger(__name__)

_LOCK = "owner.lock"
_UNLOCKED = "owner.new"


class ScratchFolder:
    """A folder under the system's temporary folder; a context manager that gives its path.

    Args:
        prefix: Begins the folder's name; folders of one prefix are of one kind.
        parent: Where to; None for the system's temporary folder.

    Attributes:
        path: The folder; its owner may put anything into it.
    """

    def __init__(self, prefix: str, *, parent: Path | None = None) -> None:
        root = parent or Path(tempfile.gettempdir())
        remove_abandoned(prefix, parent=root)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        # Locked before it has the name that others look for.
        self._lock: BinaryIO = (self.path / _UNLOCKED).open("xb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.path / _UNLOCKED).rename(self.path / _LOCK)

    def remove(self) -> None:
        """Remove the folder and all that is in it; safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()

    def __enter__(self) -> Path:
        """Return the path."""
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove it, whatever happened inside."""
        self.remove()


def remove_abandoned(prefix: str, *, parent: Path) -> int:
    """Remove our folders of a kind whose owner has died; return how many."""
    removed = 0
    for folder in parent.glob(f"{prefix}*"):
        try:
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                continue
            # Children inherit no lock: Python opens files so that exec closes them.
            with (folder / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # Its owner lives, or it is none of ours, or it is just being removed.
        logger.info("removed %s, left behind by a process that was killed", folder)
        removed += 1
    return removed
