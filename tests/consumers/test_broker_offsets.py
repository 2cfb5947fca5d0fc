"""End offsets on Apache Kafka: as far as a committed reader can read."""

import pytest
from aiokafka import AIOKafkaProducer

from consumers.broker_offsets import BrokerOffsets
from stream.errors import ServerUnreachable
from tests.consumers.kafka_calls import numbers, produce, run, until


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


def test_a_broker_that_is_not_there_is_named(free_port):
    with pytest.raises(ServerUnreachable, match="HEADWATER_KAFKA"):
        run(BrokerOffsets(f"127.0.0.1:{free_port()}").start())
