"""Dead letters: rejects to their topic, acknowledged before any offset moves on.

A replay sends a reject again: a reader tells copies by the header ``headwater-from``, which names
topic, partition and offset of the record (so does the JSON value).
"""

from __future__ import annotations

from collections.abc import Sequence

from consumers.producer import Outgoing, ReliableProducer
from stream.dead_letters import encode_dead_letter
from stream.events import Reject

ORIGIN_HEADER = "headwater-from"
# On a record that says that a dead letter was replayed: of which topic of that name.
TOPIC_ID_HEADER = "headwater-topic-id"


class DeadLetterProducer:
    """Sends rejects through a producer that several senders may share.

    Args:
        producer: Started by its owner.
        dead_letters: Topic to send to.
    """

    def __init__(self, producer: ReliableProducer, *, dead_letters: str) -> None:
        self._producer = producer
        self._dead_letters = dead_letters
        self.num_sent = 0

    async def send(
        self, rejects: Sequence[Reject], *, topic: str, partition: int, topic_id: str | None = None
    ) -> None:
        """Send the rejects of one slab and wait for the broker.

        Args:
            rejects: What cannot be used, ascending by offset.
            topic: Topic that the records came from.
            partition: Partition that they came from.
            topic_id: The topic's id; None where it is not known.

        Raises:
            ServerUnreachable: Not acknowledged within the producer's bound.
        """
        if not rejects:
            return
        self.num_sent += await self._producer.send_all(
            self._dead_letters,
            (
                Outgoing(
                    value=encode_dead_letter(
                        reject, topic=topic, partition=partition, topic_id=topic_id
                    ),
                    headers=[
                        (ORIGIN_HEADER, f"{topic}/{partition}/{reject.offset}".encode()),
                    ],
                )
                for reject in rejects
            ),
        )
