"""Producers of ours against Apache Kafka: acknowledged, ordered, identifiable, bounded."""

import asyncio
import json

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumers.dead_letters import ORIGIN_HEADER, DeadLetterProducer
from consumers.frame_producer import FrameProducer
from consumers.producer import MAX_BATCH_BYTES, Outgoing, ReliableProducer
from consumers.signal_publisher import SignalPublisher
from consumers.topic_specs import TopicSpec
from consumers.topics import ensure_topics
from stream.errors import HeadwaterError, ServerUnreachable
from stream.events import Reject

pytestmark = pytest.mark.kafka


async def read_all(kafka, topic, num_partitions):
    """Return the records of every partition of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(num_partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records = {number: [] for number in range(num_partitions)}
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for tp, batch in (await consumer.getmany(timeout_ms=100)).items():
                records[tp.partition].extend(batch)
        return records
    finally:
        await consumer.stop()


def with_producer(kafka, use, **options):
    async def run():
        producer = ReliableProducer(kafka, **options)
        await producer.start()
        try:
            return await use(producer)
        finally:
            await producer.stop()

    return asyncio.run(run())


def test_rejects_are_acknowledged_and_identifiable(kafka, topic):
    name = topic("dead-letters", num_partitions=1)
    rejects = [
        Reject(offset=offset, reason="bad_json", detail="d", value=b"\xff") for offset in (5, 9)
    ]

    async def use(producer):
        letters = DeadLetterProducer(producer, dead_letters=name)
        await letters.send(rejects, topic="interactions", partition=3)
        await letters.send([], topic="interactions", partition=3)
        assert letters.num_sent == 2
        return await read_all(kafka, name, 1)

    records = with_producer(kafka, use)[0]
    assert [dict(record.headers)[ORIGIN_HEADER] for record in records] == [
        b"interactions/3/5",
        b"interactions/3/9",
    ]
    assert [json.loads(record.value)["offset"] for record in records] == [5, 9]


def test_signals_are_keyed_by_item(kafka, topic):
    name = topic("signals", num_partitions=2)

    async def use(producer):
        await SignalPublisher(producer, item_signals=name).publish([(b"i1", b"v1"), (b"i2", b"v2")])
        return await read_all(kafka, name, 2)

    records = with_producer(kafka, use)
    found = {record.key: record.value for part in records.values() for record in part}
    assert found == {b"i1": b"v1", b"i2": b"v2"}


def test_frames_arrive_in_order_at_their_partitions_and_are_acknowledged(kafka, topic):
    name = topic("frames", num_partitions=3)

    async def use(producer):
        frames = FrameProducer(producer, topic=name, max_pending_bytes=50_000)
        frames.begin(0, 0)
        for to in range(1, 201):
            source = to % 2
            await frames.send(
                [(number, b"%d:%d:" % (source, to) + b"x" * 1_000) for number in range(to % 4)],
                source_partition=source,
                to=to,
            )
            assert frames.pending_bytes <= 50_000
        await frames.wait_acknowledged(0, 200)
        await frames.wait_acknowledged(1, 199)
        assert (frames.acknowledged(0), frames.acknowledged(1)) == (200, 199)
        assert frames.pending_bytes == 0
        records = await read_all(kafka, name, 3)
        assert sum(map(len, records.values())) == frames.num_frames
        await frames.stop()
        return records

    for partition, records in with_producer(kafka, use).items():
        expected = [to for to in range(1, 201) if to % 4 > partition]
        assert [int(record.value.split(b":")[1]) for record in records] == expected


def test_a_fold_without_rows_counts_only_after_those_before_it(kafka, topic):
    name = topic("frames", num_partitions=1)

    async def use(producer):
        frames = FrameProducer(producer, topic=name)
        frames.begin(7, 10)
        assert frames.acknowledged(7) == 10
        await frames.send([], source_partition=7, to=20)
        assert frames.acknowledged(7) == 20
        await frames.send([(0, b"frame")], source_partition=7, to=30)
        await frames.send([], source_partition=7, to=40)
        assert frames.acknowledged(7) == 20
        await frames.wait_acknowledged(7, 40)
        await frames.stop()

    with_producer(kafka, use)


def test_a_frame_beyond_the_batch_bound_is_a_failure_not_a_hang(kafka, topic):
    name = topic("frames", num_partitions=1)

    async def use(producer):
        frames = FrameProducer(producer, topic=name, delivery_timeout_ms=5_000)
        await frames.send([(0, b"x" * (MAX_BATCH_BYTES + 100_000))], source_partition=0, to=1)
        with pytest.raises(HeadwaterError, match="frame"):
            await frames.wait_acknowledged(0, 1)
        with pytest.raises(HeadwaterError):
            await frames.send([], source_partition=0, to=2)
        await frames.stop()

    with_producer(kafka, use)


def test_after_a_failure_nothing_more_is_sent(kafka_server):
    server = kafka_server()
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(bootstrap_servers=server.bootstrap)
    admin.create_topics([NewTopic(name="frames", num_partitions=2, replication_factor=1)])
    admin.close()

    async def use(producer):
        frames = FrameProducer(producer, topic="frames", delivery_timeout_ms=1_500)
        await frames.send([(0, b"one"), (1, b"one")], source_partition=0, to=1)
        await frames.wait_acknowledged(0, 1)
        watcher = asyncio.create_task(frames.watch())
        server.kill()
        await frames.send([(0, b"two")], source_partition=0, to=2)
        with pytest.raises(ServerUnreachable, match="goes on from its snapshot"):
            await watcher
        with pytest.raises(ServerUnreachable):
            await frames.send([(1, b"three")], source_partition=0, to=3)
        assert frames.acknowledged(0) == 1
        assert isinstance(frames.failure, ServerUnreachable)
        await frames.stop()

    with_producer(server.bootstrap, use, delivery_timeout_ms=2_000)


def test_a_broker_that_is_not_there_is_said_at_start(free_port):
    async def run():
        producer = ReliableProducer(f"127.0.0.1:{free_port()}", delivery_timeout_ms=500)
        with pytest.raises(ServerUnreachable, match="expected Kafka"):
            await producer.start()
        await producer.stop()

    asyncio.run(run())


def test_a_missing_topic_is_an_error_within_the_bound(kafka):
    async def use(producer):
        with pytest.raises(ServerUnreachable, match="is the broker up and the topic there"):
            await producer.send_all("no-such-topic", [Outgoing(value=b"v")])

    with_producer(kafka, use, delivery_timeout_ms=1_500)


def test_a_stop_does_not_wait_for_a_broker_that_is_away(kafka_server):
    server = kafka_server()
    asyncio.run(ensure_topics(server.bootstrap, [TopicSpec(name="frames", num_partitions=1)]))

    async def run():
        producer = ReliableProducer(server.bootstrap)
        await producer.start()
        await producer.send_all("frames", [Outgoing(value=b"one")])
        ours = producer.aiokafka
        server.kill()
        waiting = asyncio.create_task(producer.send_all("frames", [Outgoing(value=b"2")]))
        await asyncio.sleep(0)  # Its record is in a batch now.
        async with asyncio.timeout(25):  # Less than the bound of a worker's stop.
            await producer.stop()
        # Nothing tries on behind our back.
        assert ours._sender.sender_task.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(run())
