import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.dead_letter_log import DeadLetterLog, Letter, Wanted, decode_letter, parse_since
from stream.dead_letters import encode_dead_letter
from stream.errors import ConfigurationError, ServerUnreachable
from stream.events import Reject
from stream.wire import Reason
from tests.consumers.kafka_calls import run


def letter_of(**fields):
    values = {
        "reason": "bad_json",
        "detail": "",
        "topic": "interactions",
        "partition": 1,
        "offset": 7,
        "value": b"{",
        "time_ms": 1_000,
    }
    return Letter(**{**values, **fields})


@given(st.binary(max_size=3000) | st.none())
def test_a_letter_is_read_as_it_was_written(value):
    reject = Reject(offset=9, reason=Reason.BAD_JSON, detail="d", value=value)
    written = encode_dead_letter(reject, topic="t", partition=2, topic_id="id")
    read = decode_letter(written, time_ms=5)
    assert read.topic_id == "id"
    assert (read.place, read.reason, read.detail, read.time_ms) == ("t/2/9", "bad_json", "d", 5)
    if value is None:
        assert read.value is None
    else:
        assert value.startswith(read.value) and len(read.value) > min(len(value), 2048) - 4


def test_a_letter_of_an_older_worker_names_no_topic_id():
    reject = Reject(offset=9, reason=Reason.BAD_JSON, detail="d", value=b"{")
    written = json.loads(encode_dead_letter(reject, topic="t", partition=2))
    del written["topic_id"]
    assert decode_letter(json.dumps(written).encode(), time_ms=5).topic_id is None


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b"\xff", b'{"reason": 1}'])
def test_what_is_no_letter_is_none(value):
    assert decode_letter(value, time_ms=0) is None


@pytest.mark.parametrize(
    "wanted, takes",
    [
        (Wanted(), True),
        (Wanted(reasons=frozenset({"bad_json", "bad_id"})), True),
        (Wanted(reasons=frozenset({"bad_id"})), False),
        (Wanted(topics=frozenset({"items"})), False),
        (Wanted(topic="interactions", partition=1, offset=7), True),
        (Wanted(topic="items"), False),
        (Wanted(partition=0), False),
        (Wanted(offset=8), False),
        (Wanted(since_ms=1_000), True),
        (Wanted(since_ms=1_001), False),
    ],
)
def test_filters_are_all_to_be_met(wanted, takes):
    assert wanted.takes(letter_of()) is takes


@pytest.mark.parametrize(
    "text, expected",
    [
        ("30s", 999_970_000),
        ("2m", 999_880_000),
        ("1h", 996_400_000),
        ("1d", 913_600_000),
        ("9999d", 0),
        ("1970-01-02T00:00:00Z", 86_400_000),
        ("1970-01-02T01:00:00+01:00", 86_400_000),
        ("1970-01-02", 86_400_000),
    ],
)
def test_since_is_an_age_or_a_time(text, expected):
    assert parse_since(text, now_ms=1_000_000_000) == expected


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-2h", "yesterday", "2026-13-01"])
def test_since_that_is_neither_is_refused(text):
    with pytest.raises(ConfigurationError, match="--since"):
        parse_since(text, now_ms=0)


async def read_all(kafka, topic):
    async with DeadLetterLog(kafka, topic=topic) as log:
        return [letter async for letter in log.read(Wanted())]


@pytest.mark.kafka
def test_a_topic_that_is_not_there_is_a_clear_error(kafka):
    with pytest.raises(ConfigurationError, match="no-such-topic"):
        run(read_all(kafka, "no-such-topic"))


def test_a_broker_that_is_not_there_is_a_clear_error():
    with pytest.raises(ServerUnreachable, match="HEADWATER_KAFKA"):
        asyncio.run(read_all("127.0.0.1:1", "dead-letters"))
