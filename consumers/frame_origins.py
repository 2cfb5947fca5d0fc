"""Frame origins: which topic a frame's rows were made from, so that another one's are not mixed in.

Watermarks tell frames apart by source partition and offset. Where ``interactions`` was made anew
and ``item-deltas`` was not, a state that reads both from the start would take the new topic's
frames for ones that it has seen, without a word. So each frame carries the id that Kafka gave the
topic it was made from, as a header. Frames without it (brokers before 2.8, older versions) pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.errors import StateMismatch
from stream.routing import HEADER_SOURCE
from stream.slab import Slab

_ID_LENGTH = 36


def source_headers(topic_id: str | None) -> list[tuple[str, bytes]]:
    """Return the headers of a frame, or a copy, made from the topic with this id."""
    return [] if topic_id is None else [(HEADER_SOURCE, topic_id.encode())]


def _packed(topic_id: str) -> bytes:
    """Return those headers as record format v2 packs them: zigzag varints, here of a byte each.

    >>> len(_packed("0" * 36))
    55
    """
    name, value = HEADER_SOURCE.encode(), topic_id.encode()
    assert len(value) == _ID_LENGTH
    return bytes([2, 2 * len(name)]) + name + bytes([2 * len(value)]) + value


def check_sources(slab: Slab, *, interactions: str, topic_id: str | None) -> None:
    """Refuse frames that say that they were made from another topic; others' headers are passed.

    Args:
        slab: Of item deltas.
        interactions: Name of the topic that frames are made from.
        topic_id: Its id; None where the brokers give none.

    Raises:
        StateMismatch: A frame was made from another topic of that name.
    """
    starts = slab.header_starts[slab.header_starts >= 0]
    if topic_id is None or not len(starts):
        return
    wanted = np.frombuffer(_packed(topic_id), np.uint8)
    found = _bytes_at(slab.buffer, starts, len(wanted))
    is_ours = (found[:, :-_ID_LENGTH] == wanted[:-_ID_LENGTH]).all(axis=1)
    is_other = is_ours & (found != wanted).any(axis=1)
    if not is_other.any():
        return
    first = int(np.argmax(is_other))
    offset = int(slab.offsets[slab.header_starts >= 0][first])
    came = found[first, -_ID_LENGTH:].tobytes().decode(errors="replace")
    message = (
        f"{slab.topic}/{slab.partition}: expected frames made from {interactions} with id "
        f"{topic_id}, found one at offset {offset} made from a topic of id {came}: {interactions} "
        "was deleted and made again, this one was not; name new item-deltas and item-signals "
        "topics (HEADWATER_TOPICS__*), a new group id and data folder and a higher "
        "HEADWATER_EPOCH, or name the right Kafka"
    )
    raise StateMismatch(message)


def _bytes_at(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], length: int
) -> NDArray[np.uint8]:
    """Return ``length`` bytes from each start on: uint8 (F, length); 0 behind the buffer's end."""
    places = starts[:, None] + np.arange(length)
    found: NDArray[np.uint8] = buffer[np.minimum(places, len(buffer) - 1)]
    found[places >= len(buffer)] = 0
    return found
