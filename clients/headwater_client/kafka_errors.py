"""What went wrong with Kafka, in the client's own words."""

from __future__ import annotations

from headwater_client.errors import KafkaUnreachable

# A topic that was just made is not known to every broker at once: asked for so long, so often.
TOPIC_GRACE_S = 1.0
TOPIC_RETRY_S = 0.1


def unreachable(address: str, *, act: str, error: BaseException | None = None) -> KafkaUnreachable:
    """Return the error to raise when Kafka did not do what it was asked for."""
    cause = f" ({type(error).__name__}: {error})" if error else ""
    return KafkaUnreachable(
        f"expected Kafka at {address} to {act}, it did not{cause}: is the address right, the "
        f"broker up?"
    )


def no_topic(address: str, topic: str, came: str = "none") -> KafkaUnreachable:
    """Return the error to raise when Kafka answered, and the topic is not there for this user."""
    return KafkaUnreachable(
        f"expected the topic {topic!r} at Kafka {address}, got {came}: start a Headwater worker, "
        f"which makes its topics, or create it with `kafka-topics.sh --create --topic {topic} "
        f"--partitions N`; is the name right, and may this user write to it?"
    )
