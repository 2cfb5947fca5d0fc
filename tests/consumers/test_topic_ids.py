"""Answers about topics with, without and before an id; the request itself goes to Apache Kafka."""

from __future__ import annotations

from uuid import UUID

from consumers.topic_ids import _MetadataResponse, ids_in

SOME = UUID("a" * 32)
NONE = UUID(int=0)


def answer(*topics: tuple[int, str, UUID]) -> _MetadataResponse:
    entries = [(code, name, topic_id, False, [], 0, {}) for code, name, topic_id in topics]
    sent = _MetadataResponse(0, [(1, "host", 9092, None, {})], "cluster", 1, entries, 0, {})
    return _MetadataResponse.decode(sent.encode())


def test_an_id_is_read_also_while_the_topic_has_no_leader() -> None:
    leader_not_available = 5
    found = ids_in(answer((0, "a", SOME), (leader_not_available, "b", SOME)))
    assert found == {"a": str(SOME), "b": str(SOME)}


def test_a_topic_without_an_id_is_told_from_one_that_is_not_there() -> None:
    unknown_topic = 3
    assert ids_in(answer((0, "a", NONE), (unknown_topic, "b", NONE))) == {"a": ""}
