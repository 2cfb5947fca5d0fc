"""`headwater produce --items`: every item once, when the events reach its time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from consumers.commands import app
from consumers.logs import read_announcements, read_records
from stream.announcements import Announcements
from stream.decode_items import decode_items
from stream.errors import ConfigurationError
from stream.slab import Slab
from tests.consumers.test_produce import read
from tests.evaluation.data_set_samples import SAMPLES, write


def item(item_id: str, ts: int, **more: Any) -> bytes:
    fields = {"item_id": item_id, "author_id": "x", "created_at": 5, "ts": ts, **more}
    return json.dumps(fields).encode()


def event(index: int, ts: int) -> bytes:
    fields = {"event_id": str(index), "type": "like", "user_id": "u", "item_id": "i", "ts": ts}
    return json.dumps(fields).encode()


@given(
    times_ms=st.lists(st.integers(0, 20), max_size=12),
    items_ms=st.lists(st.integers(0, 25), max_size=8),
    limit=st.one_of(st.none(), st.integers(1, 12)),
)
def test_an_item_comes_before_the_first_event_that_is_not_before_it(
    tmp_path_factory: pytest.TempPathFactory,
    times_ms: list[int],
    items_ms: list[int],
    limit: int | None,
) -> None:
    log = tmp_path_factory.mktemp("items") / "log.jsonl"
    log.write_bytes(b"".join(event(*each) + b"\n" for each in enumerate(times_ms)))
    announced = Announcements(item(f"i{number}", ts) for number, ts in enumerate(items_ms))

    blocks = read_records(str(log), limit=limit, announced=announced)
    records = [record for block in blocks for record in block]

    times_ms = times_ms[:limit]
    found = [value for _, topic, _, value, _ in records if topic == "interactions"]
    assert found == [event(*each) for each in enumerate(times_ms)]
    places = {record[2]: place for place, record in enumerate(records) if record[1] == "items"}
    for number, ts in enumerate(items_ms):
        place = places.pop(b"i%d" % number, None)
        if place is None:
            assert limit is not None
            assert ts > max(times_ms, default=-1)
            continue
        before = [each[0] for each in records[:place] if each[1] == "interactions"]
        behind = [each for each in records[place:] if each[1] == "interactions"]
        assert all(time_ms < ts for time_ms in before)
        assert not behind or behind[0][0] >= ts
    assert not places


def produce(topics: tuple[str, str], brokers: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    interactions, items = topics
    environment = {
        "HEADWATER_KAFKA": brokers,
        "HEADWATER_TOPICS__INTERACTIONS": interactions,
        "HEADWATER_TOPICS__ITEMS": items,
    }
    command = ["produce", *arguments, "--json"]
    result = CliRunner().invoke(app, command, env=environment, catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout.splitlines()[-1])


@pytest.mark.kafka
def test_items_go_to_their_topic_by_their_id_and_a_run_that_goes_on_announces_them_again(
    kafka: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    topics = topic("interactions", num_partitions=2), topic("items", num_partitions=1)
    log, catalogue, progress = (tmp_path / name for name in ("log.jsonl", "items.jsonl", "at"))
    log.write_bytes(b"".join(event(index, 10 * index) + b"\n" for index in range(6)))
    lines = [
        item("late", 1_000),
        item("early", 1),
        item("gone", 25),
        item("gone", 35, status="removed"),
    ]
    catalogue.write_bytes(b"\n".join(lines) + b"\n")
    options = ("--items", str(catalogue), "--resume", str(progress))

    code, figures = produce(topics, kafka, str(log), *options, "--limit", "4")
    assert (code, figures["acknowledged"], figures["next_index"], figures["items"]) == (0, 4, 4, 2)
    code, figures = produce(topics, kafka, str(log), *options)
    assert (code, figures["acknowledged"], figures["next_index"], figures["items"]) == (0, 2, 6, 4)

    events = asyncio.run(read(kafka, topics[0], 2))
    ids = [json.loads(record.value)["event_id"] for batch in events.values() for record in batch]
    assert sorted(ids) == [str(index) for index in range(6)]
    announced = [(each.key, each.value) for each in asyncio.run(read(kafka, topics[1], 1))[0]]
    assert [key for key, _ in announced] == [b"early", b"gone", b"early", b"gone", b"gone", b"late"]
    known = decode_items(Slab.from_records(announced, topic="items"))
    assert (known.removed_ids, known.rejected) == ((b"gone",), ())
    assert sorted(known.columns.item_id(at) for at in range(2)) == [b"early", b"late"]


@pytest.mark.kafka
def test_lines_that_name_no_item_are_left_out_of_a_compacted_topic(
    kafka: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    compacted = topic("items", num_partitions=1, configs={"cleanup.policy": "compact"})
    topics = topic("interactions", num_partitions=1), compacted
    log, catalogue = tmp_path / "log.jsonl", tmp_path / "items.jsonl"
    log.write_bytes(event(0, 10) + b"\n")
    lines = [item("good", 1), b'{"item_id": 5}', b"{", b'{"status": "removed"}', item("too", 2)]
    catalogue.write_bytes(b"\n".join(lines) + b"\n")

    code, figures = produce(topics, kafka, str(log), "--items", str(catalogue))
    assert (code, figures["acknowledged"], figures["failed"], figures["items"]) == (0, 1, 0, 2)
    announced = asyncio.run(read(kafka, topics[1], 1))[0]
    assert [each.key for each in announced] == [b"good", b"too"]


def test_a_data_sets_items_are_announced_with_its_events(tmp_path: Path) -> None:
    folder = write(tmp_path, SAMPLES["movielens-1m"][0])
    announced = read_announcements(str(folder))
    assert announced is not None
    blocks = read_records(str(folder), announced=announced)
    records = [record for block in blocks for record in block]
    items = [(key, value) for _, topic, key, value, _ in records if topic == "items"]
    assert items
    assert decode_items(Slab.from_records(items, topic="items")).rejected == ()


def test_one_standard_input_is_not_both_logs() -> None:
    command = ["produce", "-", "--items", "-", "--kafka", "localhost:1"]
    with pytest.raises(ConfigurationError, match="one of LOG - and --items -, got both"):
        CliRunner().invoke(app, command, catch_exceptions=False)
