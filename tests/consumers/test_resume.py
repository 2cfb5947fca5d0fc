"""A run of `produce` that was stopped goes on: nothing lost, nothing acknowledged sent again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.logs import read_records
from consumers.produce import ProduceReport, produce_interactions
from consumers.resume import Resume
from consumers.topic_specs import TopicSpec
from consumers.topics import ensure_topics
from local.kafka import KafkaServer
from stream.errors import ConfigurationError
from tests.consumers.test_produce import read
from tests.evaluation.data_set_samples import SAMPLES, write
from tests.integration.workers import BOUND_S, ROOT, until

# The tests' 3,000 records take fifteen seconds: whoever watches has that long to interrupt them.
RATE = 200
LINES = [b'{"user_id":"u%d","ts":%d}' % (index % 7, index) for index in range(9)]


def blocks_of(lines: list[bytes], size: int = 4) -> Iterator[list[bytes]]:
    for begin in range(0, len(lines), size):
        yield lines[begin : begin + size]


def resume_at(path: Path, topic: str = "t") -> Resume:
    return Resume(path, log="log.jsonl", topic=topic)


@given(
    count=st.integers(0, 30),
    size=st.integers(1, 9),
    saves=st.lists(st.integers(0, 30), max_size=6),
    again=st.integers(1, 9),
)
def test_a_second_run_gets_what_was_not_saved(
    tmp_path_factory: pytest.TempPathFactory, count: int, size: int, saves: list[int], again: int
) -> None:
    path = tmp_path_factory.mktemp("resume") / "progress"
    lines = [b"%d" % index for index in range(count)]
    first = resume_at(path)
    assert [line for block in first.follow(blocks_of(lines, size)) for line in block] == lines
    saved = 0
    for each in saves:
        saved = max(saved, min(each, count))
        first.save(min(each, count))
    second = resume_at(path)
    assert second.acknowledged == saved
    grown = [*lines, b"new"]
    assert [x for block in second.follow(blocks_of(grown, again)) for x in block] == grown[saved:]
    second.save(count + 1)
    assert resume_at(path).acknowledged == count + 1
    assert [each.name for each in path.parent.iterdir()] == ["progress"]


@pytest.mark.parametrize(
    ("other", "came"),
    [
        ([b"x", *LINES[1:]], "another log: its first 6 lines differ"),
        ([LINES[1], LINES[0], *LINES[2:]], "another log: its first 6 lines differ"),
        (LINES[:5], "a log of only 5 lines"),
        ([], "a log of only 0 lines"),
    ],
)
def test_another_log_is_refused_before_anything_is_sent(
    tmp_path: Path, other: list[bytes], came: str
) -> None:
    first = resume_at(tmp_path / "progress")
    list(first.follow(blocks_of(LINES)))
    first.save(6)
    sent: list[bytes] = []
    with pytest.raises(ConfigurationError, match=f"progress: expected the progress of .*{came}"):
        for block in resume_at(tmp_path / "progress").follow(blocks_of(other)):
            sent += block
    assert sent == []


@pytest.mark.parametrize(
    ("text", "came"),
    [
        ("", "what cannot be read"),
        ("[]", "a file that `headwater produce --resume` did not write"),
        ('{"version": 2}', "did not write"),
        ('{"version": 1, "topic": "t"}', "a file without counts"),
        ('{"version": 1, "topic": "x"}', "progress into the topic 'x'"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, came: str) -> None:
    path = tmp_path / "progress"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=f"{path}: expected the progress of .*{came}"):
        resume_at(path)
    assert path.read_text() == text


def test_a_data_set_resumes_by_its_order_of_time(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", SAMPLES["movielens-100k"][0])
    first = Resume(tmp_path / "progress", log=str(folder), topic="t")
    whole = [record for block in read_records(str(folder), resume=first) for record in block]
    first.save(1)
    second = Resume(tmp_path / "progress", log=str(folder), topic="t")
    rest = [record for block in read_records(str(folder), resume=second) for record in block]
    assert rest == whole[1:]


class Run:
    """`headwater produce` as a process, into a topic of its own."""

    def __init__(
        self, brokers: str, topic: str, folder: Path, count: int, step_ms: int = 1
    ) -> None:
        self.log, self.progress = folder / "log.jsonl", folder / "progress"
        self.log.write_bytes(b"".join(_line(index, step_ms) + b"\n" for index in range(count)))
        self._environment = {
            **{name: value for name, value in os.environ.items() if "HEADWATER_" not in name},
            "HEADWATER_KAFKA": brokers,
            "HEADWATER_TOPICS__INTERACTIONS": topic,
        }

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        command = ["produce", str(self.log), "--resume", str(self.progress), "--json", *options]
        return subprocess.Popen(
            [sys.executable, "-m", "consumers.cli", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            cwd=ROOT,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[bytes]) -> tuple[int, dict[str, Any], str]:
        """Return the exit code, the figures (empty where there are none) and what it said."""
        out, said = process.communicate(timeout=BOUND_S)
        return process.returncode, json.loads(out or b"{}"), said.decode()

    def acknowledged(self) -> int:
        """Return what the progress file says."""
        if not self.progress.exists():
            return 0
        found: int = json.loads(self.progress.read_bytes())["acknowledged"]
        return found


def _line(index: int, step_ms: int = 1) -> bytes:
    fields = {"event_id": str(index), "type": "like", "user_id": f"u{index % 50}", "item_id": "i"}
    return json.dumps({**fields, "ts": index * step_ms}).encode()


def counts(brokers: str, topic: str, step_ms: int = 1) -> Counter[int]:
    """Return how often each line is in the topic."""
    found = asyncio.run(read(brokers, topic, 3))
    values = [record.value for batch in found.values() for record in batch]
    assert all(value == _line(int(json.loads(value)["event_id"]), step_ms) for value in values)
    return Counter(int(json.loads(value)["event_id"]) for value in values)


@pytest.mark.kafka
def test_after_an_interrupt_every_record_is_there_exactly_once(
    kafka: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    name = topic("interactions", num_partitions=3)
    run = Run(kafka, name, tmp_path, 3_000)
    process = run.start("--rate", str(RATE))
    until(lambda: run.acknowledged() > 100, "some records are acknowledged")
    process.send_signal(signal.SIGINT)
    code, first, said = run.finish(process)
    assert code == 0, said
    assert "stopped: by a signal; go on with the same --resume" in said
    assert 100 < first["acknowledged"] == run.acknowledged() < 3_000
    code, second, said = run.finish(run.start())
    assert code == 0, said
    assert second["acknowledged"] == 3_000 - first["acknowledged"]
    assert counts(kafka, name) == dict.fromkeys(range(3_000), 1)
    code, third, said = run.finish(run.start())
    assert (code, third["produced"], run.acknowledged()) == (0, 0, 3_000), said


@pytest.mark.kafka
def test_after_a_kill_nothing_is_lost_and_only_the_unsaved_is_there_twice(
    kafka: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    name = topic("interactions", num_partitions=3)
    run = Run(kafka, name, tmp_path, 3_000)
    saved: list[int] = []
    for least in (1, 500):
        process = run.start("--rate", str(RATE))
        until(lambda least=least: run.acknowledged() > least, "some records are acknowledged")
        process.kill()
        run.finish(process)
        saved.append(run.acknowledged())
    assert run.finish(run.start())[0] == 0
    found = counts(kafka, name)
    assert set(found) == set(range(3_000))
    assert run.acknowledged() == 3_000
    # Below what the first killed run had saved nobody sends again; between the two at most once.
    assert all(found[index] == 1 for index in range(saved[0]))
    assert all(found[index] <= 2 for index in range(saved[0], saved[1]))
    assert max(found.values()) <= 3


@pytest.mark.kafka
def test_progress_is_kept_while_the_next_record_is_hours_away(
    kafka: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    name = topic("interactions", num_partitions=3)
    run = Run(kafka, name, tmp_path, 4, step_ms=3_600_000)
    process = run.start("--speed", "1")
    until(lambda: run.acknowledged() == 1, "the first record is acknowledged")
    process.kill()
    run.finish(process)
    assert run.finish(run.start())[0] == 0
    assert counts(kafka, name, 3_600_000) == dict.fromkeys(range(4), 1)


@pytest.mark.kafka
def test_what_a_broker_did_not_acknowledge_is_sent_again(
    kafka_server: Callable[..., KafkaServer], tmp_path: Path
) -> None:
    server = kafka_server()
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(_line(index) + b"\n" for index in range(3_000)))

    async def send(gone: asyncio.Event, **options: Any) -> ProduceReport:
        kept = Resume(tmp_path / "progress", log="log.jsonl", topic="t")

        def note(report: ProduceReport) -> None:
            kept.save(report.next_index)
            # In order, and not anywhere: the first batch of one partition may still be under way.
            if report.next_index > 50:
                gone.set()

        return await produce_interactions(
            read_records(str(log), resume=kept),
            brokers=server.bootstrap,
            topic="t",
            on_progress=note,
            stop=asyncio.Event(),
            start_index=kept.acknowledged,
            **options,
        )

    async def chaos() -> ProduceReport:
        await ensure_topics(server.bootstrap, [TopicSpec(name="t", num_partitions=3)])
        gone = asyncio.Event()
        bounds = {"max_outage_s": 4.0, "client_options": {"request_timeout_ms": 2_000}}
        run = asyncio.create_task(send(gone, rate=300.0, **bounds))
        is_gone = asyncio.create_task(gone.wait())
        await asyncio.wait({run, is_gone}, return_when=asyncio.FIRST_COMPLETED)
        assert is_gone.done(), run.result()
        await asyncio.to_thread(server.kill)
        return await run

    first = asyncio.run(chaos())
    assert first.failed > 0
    assert json.loads((tmp_path / "progress").read_bytes())["acknowledged"] == first.next_index
    assert 50 < first.next_index <= first.acknowledged
    server.start()
    second = asyncio.run(send(asyncio.Event()))  # With the bounds that `headwater produce` has.
    assert (second.error, second.next_index) == ("", 3_000)
    assert set(counts(server.bootstrap, "t")) == set(range(3_000))


@pytest.mark.kafka
def test_another_log_or_topic_sends_nothing(
    kafka: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    name = topic("interactions", num_partitions=3)
    run = Run(kafka, name, tmp_path, 20)
    assert run.finish(run.start())[0] == 0
    run.log.write_bytes(run.log.read_bytes().replace(b"like", b"share"))
    code, figures, said = run.finish(run.start())
    assert (code, figures) == (2, {}) and "another log: its first 20 lines differ" in said
    empty = topic("interactions", num_partitions=3)
    other = Run(kafka, empty, tmp_path, 20)
    other.progress.write_text(run.progress.read_text().replace(name, empty))
    code, figures, said = other.finish(other.start())
    assert (code, figures) == (2, {}) and "a topic that ever held 0 records" in said
    assert sum(counts(kafka, name).values()) == 20
    assert "Traceback" not in said
