"""Whether an erased user is gone: looks for the id in every store, and says until when it may stay.

An erase takes a user out of state and lists at once; what the log retains leaves with the log, and
a snapshot made before leaves when newer ones have replaced it. Nothing here changes anything.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from consumers.configuration import make_snapshot_store, snapshot_place
from consumers.dead_letter_log import decode_letter, open_consumer, unreachable
from consumers.ownership import USERS
from consumers.redis_client import REDIS_ERRORS, connect_redis, redis_failure
from consumers.security import kafka_options, redis_options
from consumers.sink_keys import list_keys
from consumers.topics import count_partitions
from state.snapshot import SnapshotInvalid, SnapshotSchema
from state.tombstones import name_of
from stream.errors import ConfigurationError, ServerUnreachable
from stream.settings import Settings

Status = Literal["none", "waits", "back", "found", "unknown"]

_POLL_MS = 500
_READ_TIMEOUT_MS = 5_000
# Shorter ids stand in packed bytes by chance.
_MIN_SEARCHED_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFinding:
    """What one store holds of the user.

    Attributes:
        store: Its name.
        status: ``none``; ``waits``: still there, as it may be; ``back``: of what the user did
            after the erase; ``found``: there, and it must not be; ``unknown``: it did not answer.
        found: Records, files or keys.
        until_ms: Until when what waits may be there; None where nothing does.
        text: The same in words, without the id.
    """

    store: str
    status: Status
    found: int
    until_ms: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """The user's last erase in the log, and whether something came after it."""

    partition: int
    offset: int
    time_ms: int
    is_back: bool


@dataclass(slots=True)
class _Seen:
    """Records with the id: how many up to the erase, how many after it, the newest of the first."""

    before: int = 0
    after: int = 0
    newest_ms: int = 0


async def verify_erased(
    settings: Settings,
    user_id: str,
    *,
    brokers: str,
    redis_url: str,
    now_ms: int,
    on_progress: Callable[[int], None] = lambda count: None,
) -> tuple[Erased | None, list[StoreFinding]]:
    """Look for a user in Kafka's topics, the snapshots and Redis.

    Args:
        settings: Topics, retention, data folder, security.
        user_id: Who.
        brokers: Bootstrap servers.
        redis_url: URL of Redis.
        now_ms: What ``until_ms`` is compared with.
        on_progress: Told how many records were read.

    A store that does not answer is a finding, and the others are looked at all the same.
    """
    topics, user = settings.topics, user_id.encode()
    search = _Search(settings, user, brokers=brokers, now_ms=now_ms, tell=on_progress)
    erased: Erased | None = None
    is_known = False
    try:
        erased, interactions = await search.interactions()
        is_known = True
        findings = [interactions, await _ask(topics.dead_letters, search.dead_letters(erased))]
        for topic in (topics.item_deltas, topics.item_signals):
            findings.append(await _ask(topic, search.packed(topic)))
    except ServerUnreachable as error:
        # The others' topics are not asked: each would be waited for as long.
        names = (topics.interactions, topics.dead_letters, topics.item_deltas, topics.item_signals)
        findings = [_unknown(topic, error) for topic in names]
    others = [
        await _ask("snapshots", asyncio.to_thread(_look_at_snapshots, settings, user, erased)),
        await _ask("redis", _look_at_redis(settings, redis_url, user, erased)),
    ]
    return erased, findings + [each if is_known else _without_erase(each) for each in others]


async def _ask(store: str, look: Awaitable[StoreFinding]) -> StoreFinding:
    try:
        return await look
    except ServerUnreachable as error:
        return _unknown(store, error)


def _unknown(store: str, error: ServerUnreachable) -> StoreFinding:
    text = f"not looked at: {error}"
    return StoreFinding(store=store, status="unknown", found=0, until_ms=None, text=text)


def _without_erase(finding: StoreFinding) -> StoreFinding:
    """Take back a verdict that needs to know when the user was erased."""
    if not finding.found:
        return finding
    text = f"{finding.found} with the id; Kafka did not say whether of before the erase"
    return replace(finding, status="unknown", until_ms=None, text=text)


class _Search:
    """Reads topics for one id."""

    def __init__(
        self,
        settings: Settings,
        user_id: bytes,
        *,
        brokers: str,
        now_ms: int,
        tell: Callable[[int], None],
    ) -> None:
        self._topics = settings.topics
        self._options = kafka_options(settings.kafka_security)
        self._user_id = user_id
        self._brokers = brokers
        self._now_ms = now_ms
        self._tell = tell
        self._count = 0
        self._quoted = _quoted(user_id.decode())

    async def interactions(self) -> tuple[Erased | None, StoreFinding]:
        """Find the last erase, and what of the user lies before and after it."""
        topic = self._topics.interactions
        places: list[tuple[int, int, int]] = []
        last: tuple[int, int, int] | None = None
        async for record in self._records(topic):
            if record.key == self._user_id or self._is_in(record.value):
                places.append((record.partition, record.offset, record.timestamp))
                if _is_erase(record.value, self._user_id):
                    newest = (record.timestamp, record.partition, record.offset)
                    last = max(last or newest, newest)
        seen = _Seen()
        for partition, offset, time_ms in places:
            is_after = last is not None and (
                offset > last[2] if partition == last[1] else time_ms > last[0]
            )
            _add(seen, time_ms, is_after=is_after)
        erased = None
        if last is not None:
            erased = Erased(
                partition=last[1], offset=last[2], time_ms=last[0], is_back=bool(seen.after)
            )
        return erased, self._judge(topic, seen, is_erased=last is not None)

    async def dead_letters(self, erased: Erased | None) -> StoreFinding:
        """Look into the first bytes of records that could not be used."""
        topic, seen = self._topics.dead_letters, _Seen()
        async for record in self._records(topic):
            letter = record.value and decode_letter(record.value, time_ms=record.timestamp)
            texts = (letter.value, letter.detail.encode()) if letter else (record.value,)
            if any(self._is_in(text) for text in texts):
                back_since_ms = erased.time_ms if erased and erased.is_back else None
                is_after = back_since_ms is not None and record.timestamp > back_since_ms
                _add(seen, record.timestamp, is_after=is_after)
        return self._judge(topic, seen, is_erased=erased is not None)

    async def packed(self, topic: str) -> StoreFinding:
        """Look into frames and signals, which carry items and no users."""
        if len(self._user_id) < _MIN_SEARCHED_BYTES:
            text = "carries no users; not searched: bytes of so short an id stand there by chance"
            return StoreFinding(store=topic, status="none", found=0, until_ms=None, text=text)
        seen = _Seen()
        async for record in self._records(topic):
            if self._user_id in (record.value or b"") or self._user_id in (record.key or b""):
                seen.before += 1
        status: Status = "found" if seen.before else "none"
        text = "holds the id, and no user belongs there" if seen.before else "nothing"
        return StoreFinding(store=topic, status=status, found=seen.before, until_ms=None, text=text)

    def _judge(self, topic: str, seen: _Seen, *, is_erased: bool) -> StoreFinding:
        until_ms = seen.newest_ms + self._topics.retention_ms if seen.before else None
        status: Status = "back" if seen.after else "none"
        text = f"{seen.after} records of after the erase" if seen.after else "nothing"
        if until_ms is not None:
            text = f"{seen.before} records, retained as the log is"
            status = "waits"
            if not is_erased:
                status, text = "found", f"{seen.before} records, and no erase of this user"
            elif self._now_ms > until_ms:
                status = "found"
                text = (
                    f"{seen.before} records beyond the retention: Kafka drops whole segments; look "
                    "at the topic's retention.ms and segment.ms"
                )
        return StoreFinding(
            store=topic,
            status=status,
            found=seen.before + seen.after,
            until_ms=until_ms,
            text=text,
        )

    def _is_in(self, value: bytes | None) -> bool:
        return value is not None and self._quoted.search(value) is not None

    async def _records(self, topic: str) -> AsyncIterator[Any]:
        """Yield every record of a topic up to its present ends; none where there is no topic."""
        try:
            count = await count_partitions(self._brokers, topic, client_options=self._options)
        except ConfigurationError:
            return
        consumer = await open_consumer(self._brokers, self._options)
        try:
            partitions = [TopicPartition(topic, number) for number in range(count)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            begins = await consumer.beginning_offsets(partitions)
            for partition in partitions:
                consumer.seek(partition, begins[partition])
            left = {tp for tp in partitions if begins[tp] < ends[tp]}
            while left:
                for tp, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                    for record in records:
                        if record.offset < ends[tp]:
                            yield record
                    self._count += len(records)
                    self._tell(self._count)
                left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
        except KafkaError as error:
            raise unreachable(self._brokers, error) from error
        finally:
            await consumer.stop()


def _add(seen: _Seen, time_ms: int, *, is_after: bool) -> None:
    if is_after:
        seen.after += 1
    else:
        seen.before += 1
        seen.newest_ms = max(seen.newest_ms, time_ms)


def _quoted(text: str) -> re.Pattern[bytes]:
    r"""Return what finds a text as a JSON string, whichever characters its writer escaped.

    >>> all(_quoted("a+\u00e9").search(each.encode()) for each in ('"a+é"', r'"a\u002B\u00e9"'))
    True
    """
    return re.compile(b'"%b"' % b"".join(map(_written, text)))


def _written(character: str) -> bytes:
    """Return what matches one character of a JSON string in each way that it may be written."""
    units = character.encode("utf-16-be").hex()
    escaped = "".join(rf"\\u(?i:{units[at : at + 4]})" for at in range(0, len(units), 4))
    plain = re.escape(json.dumps(character, ensure_ascii=False)[1:-1])
    others = (r"\\/",) if character == "/" else ()
    return "(?:{})".format("|".join((plain, escaped, *others))).encode()


def _is_erase(value: bytes | None, user_id: bytes) -> bool:
    try:
        event = json.loads(value or b"")
    except (ValueError, RecursionError):  # A record of thousands of brackets can be no event.
        return False
    return (
        isinstance(event, dict)
        and event.get("type") == "erase"
        and event.get("user_id") == user_id.decode()
    )


def _look_at_snapshots(settings: Settings, user_id: bytes, erased: Erased | None) -> StoreFinding:
    """Look for the id in every snapshot that is kept, newest and older."""
    store = "snapshots"
    keep = settings.worker.snapshots_kept
    folder = str(snapshot_place(settings))
    is_missing = "://" not in folder and not Path(folder).is_dir()  # A store would make it.
    snapshots = None if is_missing else make_snapshot_store(settings)
    names = snapshots.all_names(USERS) if snapshots is not None else []
    if snapshots is None or not names:
        where = folder if snapshots is None else snapshots.place
        text = f"not looked at: there is none in {where}; run this where the workers keep theirs"
        return StoreFinding(store=store, status="unknown", found=0, until_ms=None, text=text)
    older = wrong = back = unread = 0
    for name in names:
        try:
            arrays = snapshots.read(name)
        except (SnapshotInvalid, SnapshotSchema, OSError):
            unread += 1  # Broken, or a newer Headwater's: the id may stand in it all the same.
            continue
        if arrays is None or not _holds(arrays, user_id):
            continue
        if erased is not None and name.partition == erased.partition:
            is_older = name.next_offset <= erased.offset
            older += is_older
            back += erased.is_back and not is_older
            wrong += not is_older and not erased.is_back
        else:
            wrong += 1
    found = older + wrong + back
    if wrong:
        status: Status = "found"
        text = f"{wrong} made after the erase, or none counts: was it late, a duplicate?"
    elif unread:
        status = "unknown"
        text = f"{unread} cannot be read; gone once {keep} newer ones are written"
    elif older:
        status = "waits"
        text = f"{older} made before the erase; gone once {keep} newer ones are written"
    else:
        status, text = ("back", f"{back} of after the erase") if back else ("none", "nothing")
    return StoreFinding(store=store, status=status, found=found, until_ms=None, text=text)


def _holds(arrays: Mapping[str, Any], user_id: bytes) -> bool:
    """Say whether a snapshot of a user partition knows an id: among its users, or still waiting."""
    arena, starts = arrays["users.arena"].tobytes(), arrays["users.starts"]
    of_length = starts[arrays["users.lengths"] == len(user_id)]
    begin = arena.find(user_id)
    while begin >= 0:
        if np.any(of_length == begin):
            return True
        begin = arena.find(user_id, begin + 1)
    pending = arrays.get("pending.erasures")
    return pending is not None and user_id.hex() in json.loads(pending.tobytes() or b"{}")


async def _look_at_redis(
    settings: Settings, url: str, user_id: bytes, erased: Erased | None
) -> StoreFinding:
    key, tombstone = list_keys(user_id)
    client = connect_redis(
        url,
        is_cluster=settings.sink.cluster,
        read_timeout_ms=_READ_TIMEOUT_MS,
        client_options=redis_options(settings.redis_security, url),
    )
    try:
        has_list = bool(await client.exists(key))
        left_ms = int(await client.pttl(tombstone))
    except REDIS_ERRORS as error:
        raise redis_failure(error) from error
    finally:
        await client.aclose()
    stone = f"a tombstone for {left_ms / 86_400_000:.1f} d" if left_ms > 0 else "no tombstone"
    status: Status = "none"
    if has_list:
        status = "back" if erased is not None and erased.is_back else "found"
    text = f"{'a list' if has_list else 'no list'}, {stone}"
    return StoreFinding(store="redis", status=status, found=int(has_list), until_ms=None, text=text)


def user_hash(user_id: str) -> str:
    """Return what stands for a user in tombstones and in answers: never the id.

    >>> user_hash("ann")
    '8d3adf6abf23f3a5'
    """
    return f"{name_of(user_id.encode()):016x}"
