"""What went wrong with Kafka, in the client's own words."""

from __future__ import annotations

from headwater_client.errors import KafkaUnreachable


def unreachable(address: str, *, act: str, error: BaseException | None = None) -> KafkaUnreachable:
    """Return the error to raise when Kafka did not do what it was asked for."""
    cause = f" ({type(error).__name__}: {error})" if error else ""
    return KafkaUnreachable(
        f"expected Kafka at {address} to {act}, it did not{cause}: is the address right, the "
        f"broker up, and the topic there (a Headwater worker makes it)?"
    )
