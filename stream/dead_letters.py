"""Dead letters: a reject and where it came from, as the JSON value of one record.

The value of a reject is any bytes; the dead letter is JSON that every reader takes.
"""

from __future__ import annotations

from base64 import b64encode

from stream.events import Reject
from stream.wire import MAX_DEAD_VALUE_BYTES, DeadLetter

# Details are made from bounded messages; this is a net below them.
_MAX_DETAIL_CHARS = 512


def cut_value(value: bytes | None) -> bytes | None:
    """Cut a rejected value to what a dead letter keeps, at the border of a UTF-8 character.

    >>> len(cut_value(b"x" * 9999)), len(cut_value("é".encode() * 9999 ))
    (2048, 2048)
    """
    if value is None or len(value) <= MAX_DEAD_VALUE_BYTES:
        return value
    end = MAX_DEAD_VALUE_BYTES
    while end > MAX_DEAD_VALUE_BYTES - 3 and value[end] & 0xC0 == 0x80:
        end -= 1
    return value[:end]


def encode_dead_letter(
    reject: Reject, *, topic: str, partition: int, topic_id: str | None = None
) -> bytes:
    """Encode a reject as a dead letter; never raises, whatever bytes came.

    Args:
        reject: What cannot be used.
        topic: Topic that it came from.
        partition: Its partition.
        topic_id: The topic's id, where it is known.

    Returns:
        JSON (UTF-8) of :class:`stream.wire.DeadLetter`; at most about 13 KB, where every byte of
        the value needs an escape of six.
    """
    value = cut_value(reject.value)
    text, encoded = None, None
    if value is not None:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            encoded = b64encode(value).decode()
    detail = reject.detail.encode(errors="replace").decode()[:_MAX_DETAIL_CHARS]
    letter = DeadLetter(
        reason=str(reject.reason),
        detail=detail,
        topic=topic,
        partition=partition,
        offset=reject.offset,
        value=text,
        value_base64=encoded,
        topic_id=topic_id,
    )
    return letter.model_dump_json().encode()
