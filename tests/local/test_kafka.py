"""Apache Kafka from pip: life cycle, restart on its data, checked jars."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from local.kafka import KafkaServer
from local.kafka_jars import LOCK_PATH, LockedJar, check_jars, read_lock
from local.kafka_probe import is_coordinator_ready
from local.ports import LOOPBACK
from local.process import LocalServerError


def create_topic(server: KafkaServer, name: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=server.bootstrap)
    admin.create_topics([NewTopic(name=name, num_partitions=1, replication_factor=1)])
    admin.close()


def send(server: KafkaServer, topic: str, value: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=server.bootstrap)
    producer.send(topic, value).get(timeout=20)
    producer.close()


def read_all(server: KafkaServer, topic: str) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=server.bootstrap, auto_offset_reset="earliest")
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    end = consumer.end_offsets([partition])[partition]
    values: list[bytes] = []
    while consumer.position(partition) < end:
        for records in consumer.poll(timeout_ms=1000).values():
            values += [record.value for record in records]
    consumer.close()
    return values


@pytest.mark.kafka
def test_records_survive_stop_and_kill_on_the_same_port(
    kafka_server: Callable[..., KafkaServer],
) -> None:
    server = kafka_server()
    bootstrap = server.bootstrap
    create_topic(server, "kept")
    send(server, "kept", b"before the stop")
    server.stop()
    assert not server.is_running
    server.start()
    send(server, "kept", b"before the kill")
    pid = server.pid
    server.kill()
    assert not psutil.pid_exists(pid)
    server.start()
    assert server.bootstrap == bootstrap
    assert read_all(server, "kept") == [b"before the stop", b"before the kill"]


@pytest.mark.kafka
def test_another_object_on_the_same_data_takes_the_same_port(
    kafka_server: Callable[..., KafkaServer], tmp_path: Path
) -> None:
    first = kafka_server(tmp_path / "data")
    create_topic(first, "kept")
    send(first, "kept", b"one")
    first.stop()
    second = kafka_server(tmp_path / "data", properties={"message.max.bytes": 500_000})
    assert second.port == first.port
    assert read_all(second, "kept") == [b"one"]


@pytest.mark.kafka
def test_coordinator_answers_once_start_returns(kafka: str) -> None:
    host, port = kafka.split(",")[0].split("://")[-1].rsplit(":", 1)
    assert is_coordinator_ready(host, int(port))


@pytest.mark.kafka
def test_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux ends a child with its parent")
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from local.redis import RedisServer
        server = RedisServer(data_dir=Path(sys.argv[1]))
        server.start()
        print(server.pid, flush=True)
        sys.stdin.read()
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child.wait(timeout=10)
    assert not child.is_running()


def test_probe_says_no_where_nothing_listens(free_port: Callable[[], int]) -> None:
    assert not is_coordinator_ready(LOOPBACK, free_port())


def test_a_server_that_was_not_started_says_so(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match=r"call start\(\) first"):
        _ = KafkaServer(tmp_path).bootstrap
    with pytest.raises(LocalServerError, match=r"call start\(\) first"):
        _ = KafkaServer(tmp_path).pid


def test_lock_names_each_jar_once() -> None:
    lock = read_lock()
    names = [jar.name for jar in lock]
    assert len(names) == len(set(names)) == 46
    assert "kafka_2.13-4.3.0.jar" in names


def test_a_lock_line_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jars.lock"
    path.write_text("# comment\nnot a line of a lock\n")
    with pytest.raises(LocalServerError, match=r"jars\.lock:2: expected"):
        read_lock(path)


def locked(name: str, content: bytes) -> LockedJar:
    return LockedJar(name=name, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def test_a_jar_with_another_sum_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jar").write_bytes(b"changed")
    with pytest.raises(LocalServerError, match=rf"expected SHA-256 .*{LOCK_PATH.name}.*got"):
        check_jars(tmp_path, (locked("a.jar", b"pinned"),))


def test_a_missing_jar_and_a_stray_jar_are_refused(tmp_path: Path) -> None:
    lock = (locked("a.jar", b"a"),)
    with pytest.raises(LocalServerError, match=r"expected a\.jar"):
        check_jars(tmp_path, lock)
    (tmp_path / "a.jar").write_bytes(b"a")
    check_jars(tmp_path, lock)
    (tmp_path / "b.jar").write_bytes(b"b")
    with pytest.raises(LocalServerError, match=r"b\.jar not in"):
        check_jars(tmp_path, lock)
