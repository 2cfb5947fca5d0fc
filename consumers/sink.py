"""RedisSink: writes lists with compare-and-set by version, every reply checked one by one.

Redis is a view: nothing here is remembered but counters. An outage never raises into the fold;
what was not written comes back in the report and its users stay dirty (``stream.refresh_queue``).
Absent on purpose: transactions, locks, and commands over several slots.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from consumers.crash_points import crash_point, first_half
from consumers.sink_keys import TRENDING_KEY, list_keys, probe_keys, similar_key
from consumers.sink_replies import RETRYABLE, Reply, WriteReport, reply_of
from consumers.sink_scripts import ERASE_USER, ERASE_USER_SHA, WRITE_LIST, digest_of, renamed
from state.tombstones import slot_of
from stream.candidates import RecommendationBatch
from stream.errors import ConfigurationError
from stream.list_json import encode_lists
from stream.versions import version_text

logger = logging.getLogger(__name__)

# Arguments of an EVALSHA, first the script, one of the two below: sending it gives it its name.
Command = tuple[bytes | str | int, ...]
_WRITE, _ERASE = "write", "erase"
_LIST_BEGIN = b"rec:{"
_LISTS = _LIST_BEGIN + b"*}"
# Keys that one SCAN looks at: a fraction of a millisecond of the server.
_SCANNED = 500
_OK = {int_code: reply_of(int_code) for int_code in (-1, 0, 1, 2)}
# What the world may do to a call; anything else is a bug of ours and ends the worker.
_WORLD = (RedisError, RedisClusterException, OSError, asyncio.TimeoutError)


class RedisSink:
    """Writes lists of users, similar items and the trending list.

    One instance per worker, used from its event loop by any number of tasks.

    Attributes:
        num_script_loads: How often the server did not know our scripts: once after a start, then
            each time it restarted or failed over. Any list may be gone or older then.

    Args:
        client: From :func:`consumers.redis_client.connect_redis`; without retries of its own.
        epoch: Leading part of every version; raised when a topic is recreated.
        ttl_ms: Life of a list after its last write.
        retention_ms: Life of an erase tombstone: as long as the topic retains the log.
        explain: Whether lists also say in words why each item is there.
        max_pipeline: Commands per round trip.
        max_pipelines: Round trips in flight at once; two keep the server busy while we encode.
        max_attempts: Tries per command before it is reported as not written.
        backoff_ms: Wait before the second try; doubles, with jitter.
        timeout_ms: Bound of one round trip, connecting included.
        random_unit: Returns a float in [0, 1) for the jitter.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        epoch: int,
        ttl_ms: int = 7 * 86_400_000,
        retention_ms: int = 7 * 86_400_000,
        explain: bool = False,
        max_pipeline: int = 256,
        max_pipelines: int = 2,
        max_attempts: int = 3,
        backoff_ms: int = 50,
        timeout_ms: int = 5_000,
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        if min(max_pipeline, max_pipelines, max_attempts, ttl_ms, retention_ms) < 1:
            msg = "RedisSink: expected every bound and life to be at least 1; check the settings"
            raise ConfigurationError(msg)
        self._client = client
        self._epoch = epoch
        self._explain = explain
        self._ttl = b"%d" % ttl_ms
        self._retention = b"%d" % retention_ms
        self._max_pipeline = max_pipeline
        self._max_attempts = max_attempts
        self._backoff_ms = backoff_ms
        self._timeout_s = timeout_ms / 1_000
        self._random_unit = random_unit
        self._slots = asyncio.Semaphore(max_pipelines)
        self._counts: Counter[str] = Counter()
        self.num_script_loads = 0
        self._is_refusal_told = False
        self._loading = asyncio.Lock()
        self._write_list_sha = digest_of(renamed(WRITE_LIST))  # Of none that is loaded.

    @property
    def counts(self) -> dict[str, int]:
        """Replies so far per kind (:class:`consumers.sink_replies.Reply`, lower case); a copy."""
        return dict(self._counts)

    async def write(self, batch: RecommendationBatch, *, generated_at_ms: int) -> WriteReport:
        """Write the lists of B users; the version's offset is the batch's ``next_offset``.

        Raises nothing for an outage: see the report.
        """
        keys = [(2, *list_keys(user_id)) for user_id in batch.user_ids]
        return await self._write(batch, keys, generated_at_ms)

    async def write_similar(
        self, batch: RecommendationBatch, *, generated_at_ms: int
    ) -> WriteReport:
        """Write similar items: ``user_ids`` are item ids, ``next_offset`` is of item-deltas."""
        keys = [(1, similar_key(item_id)) for item_id in batch.user_ids]
        return await self._write(batch, keys, generated_at_ms)

    async def write_trending(
        self, batch: RecommendationBatch, *, generated_at_ms: int
    ) -> WriteReport:
        """Write ``rec:trending`` from a batch of exactly one list (its user id is ignored)."""
        if len(batch) != 1:
            msg = f"write_trending: expected a batch of one list, got {len(batch)}"
            raise ValueError(msg)
        return await self._write(batch, [(1, TRENDING_KEY)], generated_at_ms)

    async def erase(self, user_id: bytes, version: str) -> Reply:
        """Delete a user's list and leave a tombstone of ``version`` (``versions.erase_version``).

        Lists of a lower version are not written from then on. ACCEPTED, SAME and STALE (a later
        erase stands there) are answers; anything else has to be tried again.
        """
        report = await self.erase_all([(user_id, version)])
        return Reply(int(report.replies[0]))

    async def erase_all(self, erasures: Sequence[tuple[bytes, str]]) -> WriteReport:
        """Erase several users, given as (user id, version); as :meth:`erase`."""
        keys = [list_keys(user_id) for user_id, _ in erasures]
        versions = [version for _, version in erasures]
        return await self._send(
            [
                (_ERASE, 2, stone, key, version, self._retention)
                for (key, stone), version in zip(keys, versions, strict=True)
            ]
        )

    async def write_tombstones(self, stones: Sequence[tuple[bytes, str]]) -> WriteReport:
        """Write tombstones, given as (key, version), that Redis lost; no list is touched."""
        return await self._send([(_ERASE, 1, *stone, self._retention) for stone in stones])

    async def delete_returned(self, stones: Mapping[int, Mapping[bytes, str]]) -> int | None:
        """Delete the lists of erased users that stand in Redis; return how many are gone.

        Args:
            stones: Version by tombstone key by cluster slot. A list of a later version stays: its
                user came back.

        Returns:
            None where not every key was seen or Redis did not answer: to be tried again.
        """
        erasures: list[Command] = []
        lists: list[bytes] = []
        try:
            async for key in self._client.scan_iter(match=_LISTS, count=_SCANNED):
                of_slot = stones.get(slot_of(key))
                if of_slot is None:
                    continue
                stone = list_keys(key[len(_LIST_BEGIN) : -1])[1]
                if stone in of_slot:
                    lists.append(key)
                    erasures.append((_ERASE, 2, stone, key, of_slot[stone], self._retention))
        except _WORLD:
            return None
        report = await self._send(erasures)
        if not report.is_answered.all():
            return None
        is_gone = await self.find_missing(lists)
        return None if is_gone is None else int(is_gone.sum())

    async def find_missing(self, keys: Sequence[bytes]) -> NDArray[np.bool_] | None:
        """Return bool (n,), there is no such key; None where Redis does not answer."""
        if not keys:
            return np.empty(0, np.bool_)
        try:
            async with asyncio.timeout(self._timeout_s):
                pipeline = self._client.pipeline(transaction=False)
                for key in keys:
                    pipeline.exists(key)
                found = await pipeline.execute()
        except _WORLD as error:
            self._tell_refused(reply_of(error))
            return None
        is_missing: NDArray[np.bool_] = np.array(found, np.int64) == 0
        return is_missing

    def _tell_refused(self, reply: Reply) -> None:
        """Say once that our user may not ask what is gone: an outage passes, this stays."""
        if reply is not Reply.REFUSED or self._is_refusal_told:
            return
        self._is_refusal_told = True
        logger.warning(
            "expected Redis to let us ask EXISTS of our keys, it does not: what it loses is written"
            " again only where users act. Has its user +exists (docker/redis/users.acl.example)?"
        )

    async def _write(
        self, batch: RecommendationBatch, keys: Sequence[Command], generated_at_ms: int
    ) -> WriteReport:
        version = version_text(
            epoch=self._epoch,
            next_offset=batch.next_offset,
            model_sequence=batch.model_sequence,
            generated_at_ms=generated_at_ms,
        ).encode()
        texts, is_valid = encode_lists(batch, explain=self._explain)
        model = batch.model.encode()
        generated_at = b"%d" % generated_at_ms
        commands: list[Command] = [
            (_WRITE, *key, version, self._ttl, text, generated_at, to, model)
            for key, text, to in zip(keys, texts, batch.events_to_ms.tolist(), strict=True)
        ]
        if is_valid.all():
            return await self._send(commands)
        self._counts[Reply.INVALID.name.lower()] += int((~is_valid).sum())
        replies = np.full(len(batch), Reply.INVALID, np.uint8)
        report = await self._send(
            [command for command, valid in zip(commands, is_valid, strict=True) if valid]
        )
        replies[is_valid] = report.replies
        error = report.error or f"expected finite scores, model {batch.model} gave NaN or infinity"
        return WriteReport(replies=replies, error=error)

    async def _send(self, commands: Sequence[Command]) -> WriteReport:
        """Run commands in pipelines of at most ``max_pipeline`` and report each reply."""
        size = self._max_pipeline
        parts = [commands[begin : begin + size] for begin in range(0, len(commands), size)]
        if len(parts) == 1:
            report = await self._send_part(parts[0])
        else:
            reports = await asyncio.gather(*map(self._send_part, parts))
            errors = [part.error for part in reports if part.error is not None]
            report = WriteReport(
                replies=np.concatenate([np.empty(0, np.uint8), *(r.replies for r in reports)]),
                error=errors[0] if errors else None,
            )
        self._counts.update(report.counts)
        return report

    async def _send_part(self, commands: Sequence[Command]) -> WriteReport:
        """Try one pipeline, then again what failed in a way that may pass.

        1. Send what is open, read every reply.
        2. Load the scripts where the server does not know them (restart, fail-over); this try is
           free, once.
        3. Wait and go on with what may pass, up to ``max_attempts``.
        """
        replies = [Reply.OTHER] * len(commands)
        todo = list(range(len(commands)))
        error: str | None = None
        attempt = 0
        has_loaded = False
        while True:
            async with self._slots:
                sha = self._write_list_sha
                answers = await self._execute([commands[index] for index in todo], sha)  # 1.
            failed = []
            for index, answer in zip(todo, answers, strict=True):
                reply = _OK.get(answer) if type(answer) is int else None
                if reply is None:
                    reply = reply_of(answer)
                    failed.append((index, answer))
                replies[index] = reply
            if not failed:
                return WriteReport.of(replies, error)
            unknown = [index for index, answer in failed if isinstance(answer, NoScriptError)]
            why = failed[0][1]
            if unknown and not has_loaded:  # 2.
                refusal = await self._load_scripts(sha)
                has_loaded, why = refusal is None, refusal or why
                attempt -= has_loaded
            error = f"{type(why).__name__}: {str(why)[:200]}"
            may_pass = {index for index, _ in failed if replies[index] in RETRYABLE}
            todo = sorted(may_pass.union(unknown))
            attempt += 1
            if not todo or attempt >= self._max_attempts:
                return WriteReport.of(replies, error)
            if may_pass:  # 3.
                await self._reconnect()
                wait_ms = self._backoff_ms * 2 ** (attempt - 1) * (0.5 + self._random_unit())
                await asyncio.sleep(wait_ms / 1_000)

    async def _execute(self, commands: Sequence[Command], write_list_sha: str) -> Sequence[object]:
        """Run commands; one answer or error per command.

        On a cluster there is a pipeline per node: where a node is away, redis-py gives up the
        answers of the others, too.
        """
        answers: list[object] = [None] * len(commands)

        async def run(part: Sequence[int]) -> None:
            found = await self._execute_part([commands[index] for index in part], write_list_sha)
            for index, answer in zip(part, found, strict=True):
                answers[index] = answer

        await asyncio.gather(*map(run, await self._by_node(commands)))
        return answers

    async def _by_node(self, commands: Sequence[Command]) -> Sequence[Sequence[int]]:
        """Part commands by who has their slot; all together where that is not known."""
        nodes: dict[str, list[int]] = defaultdict(list)
        if not isinstance(self._client, RedisCluster):
            return [range(len(commands))]
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.initialize()
            cluster: Any = self._client  # Its annotations want keys to be str.
            for index, (_, _, key, *_) in enumerate(commands):
                nodes[cluster.get_node_from_key(key).name].append(index)
        except _WORLD:
            return [range(len(commands))]
        return list(nodes.values())

    async def _execute_part(
        self, commands: Sequence[Command], write_list_sha: str
    ) -> Sequence[object]:
        """Run one pipeline; one answer or error per command, an error of all for all."""
        names: dict[bytes | str | int, str] = {_WRITE: write_list_sha, _ERASE: ERASE_USER_SHA}
        try:
            async with asyncio.timeout(self._timeout_s):
                # A cluster's pipeline is never a transaction and says so only by its default.
                options: dict[str, Any] = (
                    {} if isinstance(self._client, RedisCluster) else {"transaction": False}
                )
                pipeline = self._client.pipeline(**options)
                for script, *arguments in first_half("mid-pipeline", commands):
                    pipeline.execute_command("EVALSHA", names[script], *arguments)
                answers: list[object] = await pipeline.execute(raise_on_error=False)
                crash_point("mid-pipeline")
                crash_point("after-pipeline")
                return answers
        except _WORLD as error:
            return [error] * len(commands)

    async def _load_scripts(self, unknown_sha: str) -> Exception | None:
        """Load every script on every primary; return why the server did not take them.

        Args:
            unknown_sha: What a server did not know, unless another pipeline has loaded since.
        """
        async with self._loading:
            if self._write_list_sha != unknown_sha:
                return None
            write_list = renamed(WRITE_LIST)
            refusal: Exception | None = None
            try:
                async with asyncio.timeout(self._timeout_s):
                    for script in (write_list, ERASE_USER):
                        await self._client.script_load(script)
            except _WORLD as error:
                refusal = error
            finally:
                # Also without an answer: a server may have them all the same, and is another one.
                self._write_list_sha = digest_of(write_list)
                # Not where our user lacks the right: it would be another server at each look.
                self.num_script_loads += reply_of(refusal) is not Reply.REFUSED
            return refusal

    async def probe(self) -> None:
        """Notice a server that is another one also where there is nothing to write."""
        sha = self._write_list_sha
        try:
            async with asyncio.timeout(self._timeout_s):
                for key in probe_keys(is_cluster=isinstance(self._client, RedisCluster)):
                    await self._client.execute_command("EVALSHA", sha, 1, key)
        except NoScriptError:
            await self._load_scripts(sha)
        except _WORLD:
            return  # Who writes next tells of it.

    async def _reconnect(self) -> None:
        """Drop idle connections, so that names resolve again and roles are asked for anew."""
        try:
            if isinstance(self._client, RedisCluster):
                # Not closed: it would begin with one node of its choice, and fail with that one.
                async with asyncio.timeout(self._timeout_s):
                    await self._client.nodes_manager.initialize()
            else:
                await self._client.connection_pool.disconnect(inuse_connections=False)
        except _WORLD as error:
            logger.debug("closing connections to Redis: %s", type(error).__name__)
