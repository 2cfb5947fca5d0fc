"""Kafka topics: made where missing, checked where they exist.

Nothing that exists is altered: a topic's settings are its owner's decision, and a partition count
cannot change under a running group. What does not fit
(:mod:`consumers.topic_specs`) comes back as findings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidConfigurationError,
    KafkaError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    for_code,
)

from consumers.security import NO_OPTIONS, why_refused
from consumers.topic_specs import FoundTopic, TopicFinding, TopicSpec, compare
from stream.errors import ConfigurationError, ServerRefused, ServerUnreachable

logger = logging.getLogger(__name__)

# A fresh topic has a leader after some milliseconds on one node, after seconds on a busy cluster.
_LEADER_WAIT_S = 20.0
_POLL_S = 0.05
# Errors that say that Kafka, or whoever hosts it, takes other settings only.
_OF_SETTINGS = {InvalidConfigurationError.errno, PolicyViolationError.errno}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicReport:
    """What :func:`ensure_topics` did and found.

    Attributes:
        created: Topics made now, in the order of the specs.
        findings: Differences of topics that were there before; fatal ones first.
    """

    created: tuple[str, ...]
    findings: tuple[TopicFinding, ...]

    def raise_if_fatal(self) -> None:
        """Raise ConfigurationError that names every fatal finding, if there is one."""
        fatal = [str(finding) for finding in self.findings if finding.is_fatal]
        if fatal:
            raise ConfigurationError("; ".join(fatal))


async def ensure_topics(
    brokers: str,
    specs: Sequence[TopicSpec],
    *,
    timeout_s: float = 30.0,
    client_options: Mapping[str, Any] = NO_OPTIONS,
) -> TopicReport:
    """Make the topics that are missing, wait until they have leaders, check those that were there.

    Steps: 1. list; 2. create what is missing (another process may be first: no error); 3. wait
    for leaders; 4. compare what was there before.

    Args:
        brokers: Bootstrap servers, comma-separated.
        specs: Topics.
        timeout_s: Bound for reaching the brokers.
        client_options: Security options of aiokafka's clients.

    Raises:
        ServerUnreachable: No broker answered in time.
        ConfigurationError: The cluster refused to create a topic (rights, replication factor).
    """
    async with _admin(brokers, timeout_s, client_options) as admin:
        before = await _describe(admin, specs)  # 1
        missing = [spec for spec in specs if spec.name not in before]
        if missing:
            await _create(admin, missing)  # 2
            await _wait_for_leaders(admin, missing)  # 3
        return TopicReport(
            created=tuple(spec.name for spec in missing), findings=compare(specs, before)
        )  # 4


async def check_topics(
    brokers: str,
    specs: Sequence[TopicSpec],
    *,
    timeout_s: float = 30.0,
    client_options: Mapping[str, Any] = NO_OPTIONS,
) -> tuple[TopicFinding, ...]:
    """Compare topics with their specs and make nothing; a missing topic is a fatal finding."""
    async with _admin(brokers, timeout_s, client_options) as admin:
        found = await _describe(admin, specs)
    missing = tuple(
        TopicFinding(
            topic=spec.name,
            aspect="missing",
            expected=f"with {spec.num_partitions} partitions",
            found="none",
            is_fatal=True,
            advice="start a worker with the right to create topics, or create it",
        )
        for spec in specs
        if spec.name not in found
    )
    return missing + compare(specs, found)


async def count_partitions(
    brokers: str,
    topic: str,
    *,
    timeout_s: float = 30.0,
    client_options: Mapping[str, Any] = NO_OPTIONS,
) -> int:
    """Return how many partitions a topic has.

    Raises:
        ServerUnreachable: No broker answered in time.
        ConfigurationError: There is no such topic.
    """
    async with _admin(brokers, timeout_s, client_options) as admin:
        found = await _describe(admin, [TopicSpec(name=topic, num_partitions=1)])
    if topic not in found:
        message = f"expected a topic or a file {topic!r}, found neither (Kafka at {brokers})"
        raise ConfigurationError(message)
    return found[topic].num_partitions


@asynccontextmanager
async def _admin(
    brokers: str, timeout_s: float, options: Mapping[str, Any]
) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers, **options)
    try:
        try:
            async with asyncio.timeout(timeout_s):
                await admin.start()
        except (KafkaError, OSError, TimeoutError) as error:
            if reason := await why_refused(brokers, options, timeout_s=timeout_s):
                raise ServerRefused(reason) from error
            message = (
                f"expected Kafka at {brokers} to answer within {timeout_s:.0f} s, it did not "
                f"({str(error) or type(error).__name__}): is it running, is HEADWATER_KAFKA right?"
            )
            raise ServerUnreachable(message) from error
        yield admin
    finally:
        await admin.close()


async def _describe(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]
) -> dict[str, FoundTopic]:
    """Return the topics that exist. All names are listed: asking for one could create it."""
    names = {spec.name for spec in specs}
    there = {
        entry["topic"]: entry for entry in await admin.describe_topics() if entry["topic"] in names
    }
    if not there:
        return {}
    replies = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in there]
    )
    configs: dict[str, dict[str, str]] = {}
    for reply in replies:
        # (error code, error message, resource type, name, entries (name, value, ...))
        for code, text, _, name, entries in reply.resources:
            if code:
                message = f"topic {name}: its settings cannot be read ({text or for_code(code)})"
                raise ConfigurationError(message)
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return {
        name: FoundTopic(
            num_partitions=len(entry["partitions"]),
            has_leaders=bool(entry["partitions"])
            and all(partition["leader"] >= 0 for partition in entry["partitions"]),
            configs=configs[name],
        )
        for name, entry in there.items()
    }


async def _create(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    """Make topics; where Kafka refuses their settings, as hosted ones do, with the needed alone."""
    refused = await _ask_for(admin, [(spec, spec.all_configs()) for spec in specs])
    lesser = []
    for spec in specs:
        code, text = refused.get(spec.name, (0, ""))
        more = spec.all_configs().keys() - spec.needed_configs().keys()
        if code in _OF_SETTINGS and more:
            lesser.append((spec, spec.needed_configs()))
            logger.warning(
                "topic %s: Kafka refuses its settings (%s), asked for without %s: starts read more",
                spec.name,
                text,
                ", ".join(sorted(more)),
            )
            del refused[spec.name]
    if lesser:
        refused |= await _ask_for(admin, lesser)
    for name, (_, text) in refused.items():
        message = (
            f"expected to create topic {name}, Kafka refused: {text}: create it yourself, or "
            "change the setting that Kafka names"
        )
        raise ConfigurationError(message)


async def _ask_for(
    admin: AIOKafkaAdminClient, topics: Sequence[tuple[TopicSpec, dict[str, str]]]
) -> dict[str, tuple[int, str]]:
    """Ask for topics with these settings; return error code and text by name of those refused."""
    reply = await admin.create_topics(
        [
            NewTopic(
                name=spec.name,
                num_partitions=spec.num_partitions,
                replication_factor=spec.replication_factor,
                topic_configs=configs,
            )
            for spec, configs in topics
        ]
    )
    refused = {}
    for name, code, text in reply.topic_errors:
        if not code:
            logger.info("created topic %s", name)
        elif code != TopicAlreadyExistsError.errno:
            refused[name] = (code, text or for_code(code).__name__)
    return refused


async def _wait_for_leaders(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    names = {spec.name for spec in specs}
    try:
        async with asyncio.timeout(_LEADER_WAIT_S):
            while True:
                found = await _describe(admin, specs)
                if names == found.keys() and all(topic.has_leaders for topic in found.values()):
                    return
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        message = (
            f"expected leaders of the new topics {', '.join(sorted(names))} within "
            f"{_LEADER_WAIT_S:g} s, Kafka names none: are enough brokers up?"
        )
        raise ServerUnreachable(message) from error
