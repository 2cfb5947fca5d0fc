"""Why a worker refuses the logs or snapshots that it finds; each line says what to do.

What is refused elsewhere: a log that ends below the offset that the state wants
(:mod:`consumers.transport`), topics of another shape than the settings say
(:mod:`consumers.topics`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream.errors import LogGap, StateMismatch


def check_topic_id(topic: str, expected: str | None, found: str | None) -> None:
    """Refuse a topic that was made anew; where either id is unknown nothing can be said.

    Raises:
        StateMismatch: Both are known and differ.
    """
    if expected is None or found is None or expected == found:
        return
    message = (
        f"{topic}: expected the topic with id {expected} that the state was made from, found one "
        f"of the same name with id {found}: it was deleted and made again; start with a new group "
        "id, data folder, item-deltas and item-signals topics and a higher HEADWATER_EPOCH, or "
        "name the right Kafka"
    )
    raise StateMismatch(message)


def check_partition(topic: str, partition: int, count: int) -> None:
    """Refuse a partition that was added while workers run.

    Raises:
        StateMismatch: Its number is not below ``count``.
    """
    if partition < count:
        return
    message = (
        f"{topic}/{partition}: expected {count} partitions, the topic has more now: ids belong to "
        "partitions by that number, so it cannot change under a group id; take a topic with the "
        "new number, new item-deltas and item-signals topics, a new group id and data folder"
    )
    raise StateMismatch(message)


def check_snapshot(
    key: tuple[str, int],
    meta: Mapping[str, Any],
    *,
    counts: tuple[int, int],
    topic_id: str | None,
) -> None:
    """Refuse a snapshot of other partition counts, or of another topic of the same name.

    Args:
        key: Topic and partition.
        meta: The snapshot's.
        counts: User and item partitions of the settings.
        topic_id: The topic's id now, where known.

    Raises:
        StateMismatch: It does not fit.
    """
    found = (meta["num_partitions"], meta["num_item_partitions"])
    if found != counts:
        message = (
            f"{key[0]}/{key[1]}: expected a snapshot of {counts[0]} user and {counts[1]} "
            f"item partitions, found one of {found[0]} and {found[1]}; the partition count "
            "cannot change under a group id: use a new group id, data folder, item-deltas and "
            "item-signals topics"
        )
        raise StateMismatch(message)
    check_topic_id(key[0], meta.get("topic_id"), topic_id)


def does_not_fit(key: tuple[str, int], file: str, error: ValueError) -> StateMismatch:
    """Return why a snapshot that was made with other settings is refused."""
    return StateMismatch(
        f"{key[0]}/{key[1]}: expected a snapshot made with settings like ours, {file} is not "
        f"({error}): set HEADWATER_{file.partition('.')[0].upper()}__* as it was made, or start "
        "with a new group id, data folder, item-deltas and item-signals topics, which reads the "
        "log from its start"
    )


def gap(topic: str, partition: int, *, wanted: int, begin: int) -> LogGap:
    """Return why a log that begins, or goes on, above the state's next offset is refused."""
    return LogGap(
        f"{topic}/{partition}: the state wants offset {wanted}, the log goes on at {begin}: "
        "records in between are gone (retention too short, or the topic was truncated or "
        "recreated); start with a new group id, data folder, item-deltas and item-signals topics "
        "and a higher HEADWATER_EPOCH, or restore the log"
    )
