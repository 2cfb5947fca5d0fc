"""Places for snapshots under the same laws: a folder, fsspec's memory, a local S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from fsspec.asyn import sync
from moto.server import ThreadedMotoServer

from consumers.snapshots import SnapshotStore


class Place:
    """One place: makes stores over it and reaches behind them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._objects, self._root = fsspec.core.url_to_fs(url)

    def store(self, keep: int = 2) -> SnapshotStore:
        return SnapshotStore(self.url, keep=keep)

    def files(self) -> list[str]:
        self._objects.invalidate_cache()
        return [str(path).rsplit("/", 1)[-1] for path in self._objects.ls(self._root, detail=False)]

    def read(self, name: str) -> bytes:
        return bytes(self._objects.cat_file(f"{self._root}/{name}"))

    def damage(self, name: str, data: bytes) -> None:
        self._objects.pipe_file(f"{self._root}/{name}", data)

    def clear(self) -> None:
        """Remove all of it, a folder itself too."""
        self._objects.invalidate_cache()
        self._objects.rm(self._root, recursive=True)


@contextmanager
def folder(tmp_path: Path) -> Iterator[Place]:
    yield Place(f"file://{tmp_path}")


@contextmanager
def memory(tmp_path: Path) -> Iterator[Place]:
    place = Place(f"memory://{uuid.uuid4().hex}")
    yield place
    place._objects.rm(place._root, recursive=True)


@contextmanager
def s3(tmp_path: Path) -> Iterator[Place]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        try:
            host, port = server.get_host_and_port()
            for name, value in (
                ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
                ("AWS_ACCESS_KEY_ID", "key"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("AWS_DEFAULT_REGION", "us-east-1"),
            ):
                patch.setenv(name, value)
            bucket = uuid.uuid4().hex
            fsspec.filesystem("s3").mkdir(bucket)
            yield Place(f"s3://{bucket}/snapshots")
        finally:
            # Instances are cached by their arguments: the next server has another address.
            s3_class = fsspec.get_filesystem_class("s3")
            for objects in s3_class._cache.values():
                # Its finaliser gives it a tenth of a second, and leaves sockets open after that.
                sync(objects.loop, objects._s3creator.__aexit__, None, None, None, timeout=30)
            s3_class.clear_instance_cache()
            server.stop()


PLACES: dict[str, Callable[[Path], object]] = {"folder": folder, "memory": memory, "s3": s3}
