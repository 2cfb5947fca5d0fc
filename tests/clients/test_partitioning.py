"""A key's partition is the engine's, and that of Kafka's other clients."""

from __future__ import annotations

import numpy as np
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.partitioner import murmur2 as murmur2_of_kafka_python

from headwater_client.partitioning import murmur2, partition_of
from state import hashing

KEYS = st.one_of(st.binary(max_size=300), st.text(min_size=1, max_size=64).map(str.encode))


@settings(deadline=None)
@given(KEYS, st.integers(1, 1024))
def test_partition_is_the_engines(key: bytes, num_partitions: int) -> None:
    expected = hashing.partition_of(np.frombuffer(key, np.uint8), 0, len(key), num_partitions)
    assert partition_of(key, range(num_partitions)) == expected


@settings(deadline=None)
@given(KEYS)
def test_hash_is_that_of_the_kafka_libraries(key: bytes) -> None:
    assert murmur2(key) == murmur2_of_aiokafka(key) == murmur2_of_kafka_python(key)


def test_order_of_the_partitions_does_not_matter() -> None:
    assert partition_of(b"foobar", {3, 1, 0, 2}) == partition_of(b"foobar", [2, 3, 1, 0]) == 2
