"""kafka-python, imported without its complaints about itself.

Version 3.0 reads its protocol's schemas with a call that Python deprecates; an application that
turns warnings into errors could not import it.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.errors import KafkaError
    from kafka.partitioner import Partitioner

__all__ = ["KafkaConsumer", "KafkaError", "KafkaProducer", "Partitioner", "TopicPartition"]
