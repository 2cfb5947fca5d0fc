"""End offsets on Apache Kafka: as far as a committed reader can read."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from consumers import broker_offsets, topic_ids
from consumers.broker_offsets import BrokerOffsets
from stream.errors import ServerUnreachable
from tests.consumers.kafka_calls import committed, members, numbers, produce, recreate, run, until


async def reaches(offsets, name, end):
    return (await offsets.ends({(name, 0)}))[name, 0] >= end


@pytest.mark.kafka
def test_an_open_transaction_is_not_counted_before_its_end(kafka, topic):
    name = topic("interactions", 1)

    async def scenario():
        offsets = BrokerOffsets(kafka)
        await offsets.start()
        try:
            await produce(kafka, name, numbers(0, 5))
            producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name)
            async with producer:
                async with producer.transaction():
                    await producer.send_and_wait(name, b"6")
                    during = await offsets.ends({(name, 0)})
                # The broker answers before it has written the marker.
                await until(lambda: reaches(offsets, name, 7))
                after = await offsets.ends({(name, 0)})
        finally:
            await offsets.stop()
        return during, after

    during, after = run(scenario())
    assert during == {(name, 0): 5}
    assert after == {(name, 0): 7}  # The marker counts.


@pytest.mark.kafka
def test_a_topic_that_was_not_named_at_the_start_is_found_too(kafka, topic):
    name, other = topic("interactions", 1), topic("item-deltas", 1)

    async def scenario():
        offsets = BrokerOffsets(kafka)
        await offsets.start([name])
        try:
            return await offsets.ends({(name, 0), (other, 0)})
        finally:
            await offsets.stop()

    assert run(scenario()) == {(name, 0): 0, (other, 0): 0}


@pytest.mark.kafka
def test_what_a_group_committed_is_read_without_joining_it(kafka, topic):
    name = topic("interactions", 2)

    async def scenario():
        await produce(kafka, name, numbers(0, 5))
        tp = TopicPartition(name, 0)
        async with AIOKafkaConsumer(
            bootstrap_servers=kafka, group_id=name, enable_auto_commit=False
        ) as consumer:
            consumer.assign([tp])
            await consumer.commit({tp: 3})
        assert await committed(kafka, name) == {0: 3}
        found = []
        for group in (name, f"{name}-new"):
            offsets = BrokerOffsets(kafka, group=group)
            await offsets.start([name])
            try:
                found.append(await offsets.committed([(name, 0), (name, 1)]))
                assert await members(kafka, group) == 0
            finally:
                await offsets.stop()
        return found

    assert run(scenario()) == [{(name, 0): 3, (name, 1): 0}, {(name, 0): 0, (name, 1): 0}]


@pytest.mark.kafka
def test_a_topic_made_anew_has_another_id_than_before(kafka, topic):
    name, other = topic("interactions", 1), topic("item-deltas", 2)

    async def scenario():
        offsets = BrokerOffsets(kafka)
        await offsets.start()
        try:
            before = await offsets.topic_ids([name, other])
            again = await offsets.topic_ids([name, other])
            await recreate(kafka, name)
            return before, again, await offsets.topic_ids([name, other])
        finally:
            await offsets.stop()

    before, again, after = run(scenario())
    assert before == again and before.keys() == {name, other}
    assert after[name] not in before.values() and after[other] == before[other]


@pytest.mark.kafka
def test_brokers_without_topic_ids_are_no_error(kafka, topic, monkeypatch, caplog):
    name = topic("interactions", 1)
    monkeypatch.setattr(topic_ids._MetadataRequest, "API_VERSION", 99)

    async def scenario():
        offsets = BrokerOffsets(kafka)
        await offsets.start()
        try:
            return await offsets.topic_ids([name])
        finally:
            await offsets.stop()

    assert run(scenario()) == {}
    assert "know no topic ids" in caplog.text


def test_a_broker_that_is_not_there_is_named(free_port):
    with pytest.raises(ServerUnreachable, match="HEADWATER_KAFKA"):
        run(BrokerOffsets(f"127.0.0.1:{free_port()}").start())


@pytest.mark.kafka
def test_a_topic_that_is_not_there_is_named(kafka, topic, monkeypatch):
    monkeypatch.setattr(broker_offsets, "_ID_WAIT_S", 0.0)

    async def scenario():
        offsets = BrokerOffsets(kafka)
        await offsets.start()
        try:
            await offsets.topic_ids([topic("interactions", 1), "never-made"])
        finally:
            await offsets.stop()

    with pytest.raises(ServerUnreachable, match="none of never-made"):
        run(scenario())
