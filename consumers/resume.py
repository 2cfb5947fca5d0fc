"""Resume: where a run of ``produce`` stands in its source, in a small file that survives a kill.

The file says how many lines of the log are acknowledged in order, and a checksum of exactly these
lines. A later run reads the log from its beginning, refuses it when its head is another one, and
goes on behind it; a log that has grown since is the same log. What was acknowledged after the last
save is sent again and counts once: the ids of events are the log's own.

Absent on purpose: a lock. Two runs at once with one file send lines twice and lose none.
"""

from __future__ import annotations

import json
import os
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn
from zlib import crc32

from consumers.broker_offsets import BrokerOffsets
from consumers.outputs import check_file
from consumers.security import NO_OPTIONS
from consumers.topics import count_partitions
from stream.errors import ConfigurationError

_VERSION = 1


class Resume:
    """The progress of one log into one topic.

    Args:
        path: The file; it need not be there.
        log: Name of the log, for a person.
        topic: Kafka topic that the lines go to.

    Attributes:
        acknowledged: Lines that are stored, counted from the log's beginning.

    Raises:
        ConfigurationError: The file cannot be read or written, or tells of another topic.
    """

    def __init__(self, path: Path, *, log: str, topic: str) -> None:
        check_file("--resume", path)
        self._path = path
        self._log = log
        self._topic = topic
        self.acknowledged, self._checksum = self._read()
        # Of lines handed over and not yet saved: (index of the first, checksum after each).
        self._marks: deque[tuple[int, array[int]]] = deque()

    def follow(self, blocks: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
        """Yield the blocks' lines behind those that are acknowledged; an empty block as it is.

        Args:
            blocks: The log's lines from its beginning.

        Raises:
            ConfigurationError: The head is not what was acknowledged. Nothing was yielded then.
        """
        index, checksum = 0, 0
        for lines in blocks:
            head = min(len(lines), max(0, self.acknowledged - index))
            for line in lines[:head]:
                checksum = _after(line, checksum)
            index += head
            if head and index == self.acknowledged and checksum != self._checksum:
                self._refuse(f"another log: its first {index:,} lines differ")
            rest = lines[head:]
            if rest:
                marks = array("L")
                for line in rest:
                    checksum = _after(line, checksum)
                    marks.append(checksum)
                self._marks.append((index, marks))
                index += len(rest)
            yield rest
        if index < self.acknowledged:
            self._refuse(f"a log of only {index:,} lines")

    def save(self, next_index: int) -> None:
        """Keep that all lines before ``next_index`` are acknowledged; whole or not at all.

        Steps: 1. the checksum after these lines; 2. a temporary file, flushed to disk; 3. rename
        it, and flush the folder.
        """
        if next_index <= self.acknowledged:
            return
        while self._marks and self._marks[0][0] < next_index:  # 1
            first, marks = self._marks[0]
            count = min(next_index - first, len(marks))
            self._checksum = marks[count - 1]
            self.acknowledged = first + count
            if count < len(marks):
                break
            self._marks.popleft()
        self._write()  # 2, 3

    def _read(self) -> tuple[int, int]:
        try:
            found: Any = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return 0, 0
        except (OSError, ValueError) as error:
            self._refuse(f"what cannot be read ({error})")
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            self._refuse("a file that `headwater produce --resume` did not write")
        if found.get("topic") != self._topic:
            self._refuse(f"progress into the topic {found.get('topic')!r}")
        acknowledged, checksum = found.get("acknowledged"), found.get("checksum")
        if not isinstance(acknowledged, int) or not isinstance(checksum, int) or acknowledged < 0:
            self._refuse("a file without counts")
        return acknowledged, checksum

    def _refuse(self, came: str) -> NoReturn:
        message = (
            f"{self._path}: expected the progress of {self._log} into the topic {self._topic}, "
            f"got {came}; name another file to send the log from its beginning"
        )
        raise ConfigurationError(message)

    def _write(self) -> None:
        fields = {
            "version": _VERSION,
            "log": self._log,
            "topic": self._topic,
            "acknowledged": self.acknowledged,
            "checksum": self._checksum,
        }
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        with temporary.open("w") as file:
            file.write(json.dumps(fields) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    async def check_topic(
        self, brokers: str, *, client_options: Mapping[str, Any] = NO_OPTIONS
    ) -> None:
        """Refuse a topic that cannot hold what was acknowledged: another Kafka, or made anew.

        Raises:
            ConfigurationError: It holds fewer records.
            ServerUnreachable: No broker answered.
        """
        if not self.acknowledged:
            return
        count = await count_partitions(brokers, self._topic, client_options=client_options)
        offsets = BrokerOffsets(brokers, client_options=client_options)
        await offsets.start()
        try:
            ends = await offsets.ends((self._topic, partition) for partition in range(count))
        finally:
            await offsets.stop()
        held = sum(ends.values())
        if held < self.acknowledged:
            self._refuse(
                f"a topic that ever held {held:,} records, where {self.acknowledged:,} were "
                "acknowledged (another Kafka, or the topic was made anew)"
            )


def _after(line: bytes, checksum: int) -> int:
    return crc32(b"\n", crc32(line, checksum))
