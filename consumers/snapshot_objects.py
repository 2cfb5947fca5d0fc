"""ObjectFolder: snapshots in an object store, through fsspec (``s3://``, ``gs://`` ...).

A put is atomic and durable by the store's own word ("Amazon S3 never adds partial objects; if you
receive a success response, Amazon S3 added the entire object to the bucket"): no temporary name,
and no rename, which would be a copy. Where a driver cannot promise it (``sftp://`` ...), a cut
file fails its checksum and the one before counts. Credentials are the driver's: its environment
variables or fsspec's files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from state.snapshot import Piece
from stream.errors import ConfigurationError, ServerUnreachable

T = TypeVar("T")


class ObjectFolder:
    """Objects under one URL, shared by all workers; see ``snapshots.SnapshotFiles``.

    Attributes:
        place: The URL.
        was_made: False: a prefix without objects is neither there nor missing.

    Raises:
        ConfigurationError: fsspec knows no such protocol, or its driver is not installed.
        ServerUnreachable: Its driver connects at once, and nobody answers.
    """

    def __init__(self, url: str) -> None:
        try:
            found = url_to_fs(url)
        except (ValueError, ImportError, TypeError) as error:
            message = (
                f"HEADWATER_WORKER__SNAPSHOTS: expected a folder or a URL that fsspec can open, "
                f"got one of {url.split('://')[0]}://: {error}; s3 needs pip install headwater[s3]"
            )
            raise ConfigurationError(message) from error
        except Exception as error:  # Some drivers connect at once, each with its own exceptions.
            message = (
                f"HEADWATER_WORKER__SNAPSHOTS: expected the store of {url.split('://')[0]}:// to "
                f"answer, came {type(error).__name__}: {error}; is it up, is the URL right?"
            )
            raise ServerUnreachable(message) from error
        self._objects: AbstractFileSystem = found[0]
        self._root = str(found[1]).rstrip("/")
        self.place = str(self._objects.unstrip_protocol(self._root))
        self.was_made = False

    def make_again(self) -> None:
        """Do nothing: a prefix is there with its first object."""

    def list(self) -> Sequence[str]:
        """Return the names of all objects, asked anew each time."""
        self._objects.invalidate_cache()
        try:
            paths = self._ask(lambda: self._objects.ls(self._root, detail=False))
        except FileNotFoundError:
            return []  # A prefix without objects is not there.
        return [str(path).rsplit("/", 1)[-1] for path in paths]

    def has_bucket(self) -> bool:
        """Say whether what holds the prefix is there: a misspelt bucket lists like an empty one.

        Raises:
            ServerUnreachable: The store does not answer.
        """
        bucket = self._root.lstrip("/").split("/")[0]
        return bool(self._ask(lambda: self._objects.exists(bucket)))

    def read(self, name: str) -> bytes:
        """Return an object; FileNotFoundError where it is gone.

        Raises:
            ServerUnreachable: The store does not answer: that says nothing about the object.
        """
        return bytes(self._ask(lambda: self._objects.cat_file(self._path(name))))

    def write(self, name: str, pieces: Sequence[Piece]) -> int:
        """Put an object whole; return its bytes. One more copy in memory: a put takes one piece.

        Raises:
            OSError: Not written.
        """
        data = b"".join(pieces)
        try:
            self._objects.pipe_file(self._path(name), data)
        except OSError:
            raise
        except Exception as error:  # Each driver has exceptions of its own for an outage.
            message = f"{type(error).__name__}: {error}"
            raise OSError(message) from error
        return len(data)

    def remove(self, name: str) -> None:
        """Remove an object; nothing to do where it is gone."""
        try:
            self._ask(lambda: self._objects.rm_file(self._path(name)))
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _ask(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except FileNotFoundError:
            raise
        except Exception as error:  # As in write.
            message = (
                f"expected the snapshot store {self.place} to answer, came "
                f"{type(error).__name__}: {error}; is it up, may the worker read and list it?"
            )
            raise ServerUnreachable(message) from error
