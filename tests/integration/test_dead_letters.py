"""Dead letters as an operator meets them: listed by reason, mended, replayed, counted exactly."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer

from consumers.broker_offsets import BrokerOffsets
from consumers.command_samples import SAMPLES
from tests.integration.conftest import Deploy
from tests.integration.test_commands import RUN_EACH
from tests.integration.workers import (
    BOUND_S,
    ROOT,
    VERDICTS,
    Deployment,
    figures,
    summary_of,
    until,
)
from tests.wire_logs import event, wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

GOOD = wire_log(800, seed=11, num_users=30, late_share=0.0)
# A producer that spells a type wrongly, one that sends a number as text, and one without hope.
MISSPELT = [event(10_000 + number, type="wach", user_id=f"u{number}") for number in range(6)]
TEXTS = [
    event(20_000 + number, type="like", ts=str(1_700_000_900_000 + number)) for number in range(4)
]
HOPELESS = [b"\xff\xfe", b"[1]", b"{\n}"]
MEND = """
import json, sys
for line in sys.stdin.buffer:
    try:
        event = json.loads(line)
        event["ts"] = int(event["ts"])
        if event["type"] == "wach":
            event["type"] = "watch"
            event.update(watch_ms=20_000, duration_ms=30_000)
        print(json.dumps(event))
    except (ValueError, KeyError, TypeError):
        print(line.decode(errors="replace").strip() if MODE == "all" else "")
"""


@pytest.fixture
def mender(tmp_path: Path) -> Any:
    """Give a function that returns a command: mends what it can, leaves or passes the rest."""

    def make(mode: str) -> str:
        path = tmp_path / f"mend_{mode}.py"
        path.write_text(f"MODE = {mode!r}\n{MEND}")
        return f"{sys.executable} {path}"

    return make


def produce_bad(deployment: Deployment) -> dict[str, bytes]:
    """Produce every bad record; return place to value."""

    async def run() -> dict[str, bytes]:
        places = {}
        async with AIOKafkaProducer(bootstrap_servers=deployment.kafka) as producer:
            for number, value in enumerate([*MISSPELT, *TEXTS, *HOPELESS]):
                sent = await producer.send_and_wait(
                    deployment.interactions,
                    value,
                    key=b"key",
                    partition=number % deployment.partitions,
                )
                places[f"{sent.topic}/{sent.partition}/{sent.offset}"] = value
        return places

    return asyncio.run(run())


def run_each(
    deployment: Deployment, *commands: list[str], logs: Sequence[str] = ()
) -> list[Answer]:
    """Run commands of `dead-letters` one after the other in one process: importing takes seconds.

    ``logs`` names the topic of dead letters for each command, where it is not the deployment's.
    """
    topics = logs or [deployment.dead_letters] * len(commands)
    cases = [
        (["dead-letters", *words], {"TOPICS__DEAD_LETTERS": topic})
        for words, topic in zip(commands, topics, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN_EACH],
        input=json.dumps(cases).encode(),
        capture_output=True,
        env=deployment.environment(),
        cwd=ROOT,
        timeout=BOUND_S,
        check=True,
    )
    return [Answer(*json.loads(line)) for line in done.stdout.splitlines()]


class Answer(NamedTuple):
    """What a command said."""

    code: int | None
    out: str
    said: str

    @property
    def figures(self) -> dict[str, Any]:
        assert self.code in (None, 0), self.said
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


def counters(deployment: Deployment) -> dict[str, int]:
    deployment.drain()
    (worker,) = deployment.alive
    stats = worker.stats()
    found = {name: stats[name] for name in ("read", *VERDICTS)}
    assert found["read"] == sum(found[name] for name in VERDICTS)
    return found


def assert_shown_and_judged(deployment: Deployment, places: dict[str, bytes], mend: str) -> None:
    # What is there, and how it is found; a dry run judges and sends nothing.
    found, texts, one, none, later, dry = (
        answer.figures
        for answer in run_each(
            deployment,
            ["list", "--json"],
            ["list", "--reason", "wrong_type", "--limit", "3", "--json"],
            ["list", "--partition", "1", "--since", "1h", "--json"],
            ["list", "--topic", "items", "--json"],
            ["list", "--since", "2100-01-01", "--json"],
            ["replay", "--through", mend, "--dry-run", "--json"],
        )
    )
    assert {each["place"] for each in found["letters"]} == set(places)
    assert {each["topic_id"] for each in found["letters"]} == {
        topic_id(deployment, deployment.interactions)
    }
    assert list(found) == list(SAMPLES["dead-letters list"].answer or ())
    assert list(dry) == list(SAMPLES["dead-letters replay"].answer or ())
    shown = (SAMPLES["dead-letters list"].answer or {})["letters"][0]
    assert list(found["letters"][0]) == list(shown)
    assert found["by_reason"] == {
        "unknown_type": 6,
        "wrong_type": 4,
        "bad_utf8": 1,
        "not_an_object": 1,
        "missing_field": 1,
    }
    assert (texts["matched"], texts["shown"]) == (4, 3)
    assert (one["matched"], none["matched"], later["matched"]) == (4, 0, 0)
    assert dry["verdicts"]["good"] == 10 and dry["replayed"] == 13


def test_mended_records_count_once_and_the_rest_dies_again(deploy: Deploy, mender: Any) -> None:
    deployment = deploy()
    deployment.worker()
    deployment.produce(GOOD)
    places = produce_bad(deployment)
    before = counters(deployment)
    assert before["rejected"] == len(places) == 13

    assert_shown_and_judged(deployment, places, mender("all"))
    assert counters(deployment) == before

    # One reason is mended; twice the same command sends nothing twice.
    some = ["replay", "--reason", "unknown_type", "--through", mender("known"), "--json"]
    first, again = (answer.figures for answer in run_each(deployment, some, some))
    assert first["replayed"] == 6
    assert (again["matched"], again["replayed"], again["already"]) == (0, 0, 6)
    after = counters(deployment)
    routed = after["routed"] - before["routed"]
    assert after == {
        **before,
        "read": before["read"] + 6 + routed,
        "applied": before["applied"] + 6,
        "routed": after["routed"],
    }

    # The rest as well: what is still bad dies again, at its new offset.
    (rest,) = (
        answer.figures
        for answer in run_each(deployment, ["replay", "--through", mender("all"), "--json"])
    )
    assert (rest["replayed"], rest["verdicts"]["good"]) == (7, 4)
    last = counters(deployment)
    assert last["applied"] == after["applied"] + 4
    assert last["rejected"] == before["rejected"] + 3
    (left,) = (answer.figures for answer in run_each(deployment, ["list", "--json"]))
    assert left["matched"] == 3 and left["replayed"] == 13
    assert not {each["place"] for each in left["letters"]} & set(places)

    # The log tells the same: every figure and the state itself.
    deployment.stop_all()
    whole = summary_of(deployment.run("replay", deployment.interactions, "--json"))
    assert {name: whole[name] for name in last} == last
    assert whole["read"] == sum(whole[name] for name in VERDICTS)
    state = figures(deployment.engine())
    assert whole["digest"] == state["digest"]
    assert whole["read"] - whole["routed"] == len(GOOD) + len(places) + 6 + 7


def produce_bad_item(deployment: Deployment, items: str) -> None:
    """Send one, and wait for its letter."""

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=deployment.kafka) as producer:
            await producer.send_and_wait(items, b"{", key=b"clip")

    def letters() -> int:
        return sum(1 for _ in deployment.records(deployment.dead_letters, 1))

    before = letters()
    asyncio.run(run())
    until(lambda: letters() > before, "the item's letter is written")


def topic_id(deployment: Deployment, topic: str) -> str:
    async def run() -> str:
        offsets = BrokerOffsets(deployment.kafka)
        await offsets.start()
        try:
            return (await offsets.topic_ids([topic]))[topic]
        finally:
            await offsets.stop()

    return asyncio.run(run())


def test_a_record_sent_twice_by_a_crash_counts_once(deploy: Deploy, mender: Any) -> None:
    deployment = deploy()
    deployment.worker()
    deployment.produce(GOOD)
    produce_bad(deployment)
    before = counters(deployment)
    some = ["replay", "--reason", "wrong_type", "--through", mender("known"), "--json"]
    # The mark goes to a topic of dead letters that nobody else reads: as if it had been lost.
    copied = f"{deployment.dead_letters}-copy"
    lost = [record.value for record in deployment.records(deployment.dead_letters, 1)]

    async def copy() -> None:
        async with AIOKafkaProducer(bootstrap_servers=deployment.kafka) as producer:
            for value in lost:
                await producer.send_and_wait(copied, value)

    make_topic(deployment, copied)
    asyncio.run(copy())
    both = run_each(deployment, some, some, logs=[copied, deployment.dead_letters])
    assert [answer.figures["replayed"] for answer in both] == [4, 4]
    after = counters(deployment)
    assert after["applied"] == before["applied"] + 4
    assert after["duplicate"] == before["duplicate"] + 4


def make_topic(deployment: Deployment, name: str) -> None:
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(bootstrap_servers=deployment.kafka)
    try:
        admin.create_topics([NewTopic(name=name, num_partitions=1, replication_factor=1)])
    finally:
        admin.close()


def test_tables_are_for_people_and_what_cannot_be_done_is_said(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.worker()
    produce_bad(deployment)
    deployment.drain()
    items = f"items-{deployment.tag}"
    produce_bad_item(deployment, items)
    refused = [
        (["list", "--reason", "no_such_reason"], "unknown_type"),
        (["list", "--since", "yesterday"], "--since"),
        (["replay", "--topic", deployment.item_deltas], "--topic"),
        (["replay", "--through", "/no/such/program"], "--through"),
        (["replay", "--through", "true"], "got 0 and 0"),
    ]
    table, *answers, whole, of_items = run_each(
        deployment,
        ["list", "--reason", "not_an_object"],
        *(words for words, _ in refused),
        ["list", "--topic", deployment.interactions, "--json"],
        ["list", "--topic", items, "--json"],
    )
    (letter,) = of_items.figures["letters"]
    assert (letter["place"], letter["topic_id"]) == (f"{items}/0/0", topic_id(deployment, items))
    assert table.code in (None, 0) and "not_an_object" in table.out and "[1]" in table.out
    for (words, named), answer in zip(refused, answers, strict=True):
        assert answer.code == 2, (words, answer.said)
        assert named in answer.said and "Traceback" not in answer.said
    assert whole.figures["matched"] == 13
