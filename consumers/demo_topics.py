"""Topics of one demo on a Kafka that is somebody's: apart from all others, deleted at its end.

A worker that runs there would otherwise share the demo's partitions, fold its simulated events, and
leave the demo to count half of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream.settings import Settings, TopicSettings

logger = logging.getLogger(__name__)

_NAMES = ("interactions", "items", "item_deltas", "item_signals", "dead_letters")


def settings_apart(settings: Settings, run: str) -> Settings:
    """Return the settings with a group and topics of this run's own.

    >>> apart = settings_apart(Settings(), "headwater-demo-7")
    >>> apart.topics.item_deltas, apart.topics.dead_letters, apart.worker.group
    ('headwater-demo-7-item-deltas', 'headwater-demo-7-dead-letters', 'headwater-demo-7')
    """
    names = {name: f"{run}-{name.replace('_', '-')}" for name in _NAMES}
    return settings.model_copy(
        update={
            "topics": settings.topics.model_copy(update=names),
            "worker": settings.worker.model_copy(update={"group": run}),
        }
    )


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give another process these topics and this group.

    >>> as_environment(Settings())["HEADWATER_TOPICS__DEAD_LETTERS"]
    'dead-letters'
    """
    topics = {
        f"HEADWATER_TOPICS__{name.upper()}": getattr(settings.topics, name) for name in _NAMES
    }
    return {**topics, "HEADWATER_WORKER__GROUP": settings.worker.group}


async def delete_topics(
    brokers: str, topics: TopicSettings, *, client_options: Mapping[str, Any]
) -> None:
    """Delete a run's topics; where Kafka does not let us, a warning names them."""
    names = [getattr(topics, name) for name in _NAMES]
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers, **client_options)
    try:
        await admin.start()
        await admin.delete_topics(names)
    except (KafkaError, OSError) as error:
        logger.warning("the demo's topics stay: %s (%r): delete them", ", ".join(names), error)
    finally:
        await admin.close()
