"""Headwater's exceptions, one file, one tree.

```
HeadwaterError
├── ConfigurationError     a setting or argument that cannot work; raised at start-up
├── ServerUnreachable      Kafka or Redis did not answer within its bound
│   └── ServerRefused      it answered and did not let us in: certificate, user, protocol
├── LogGap                 a log starts above the offset that the state wants
│   └── FrameHole          an item-deltas frame starts above its watermark
├── FencedInstanceId       another worker joined the group under this one's instance id
├── PartitionElsewhere     a question about a partition that another worker holds
├── SnapshotNotWritten     the store took no snapshot: full, away, not ours to write
├── CorruptBatch           Kafka handed out a record batch that cannot be read
├── StateMismatch          a snapshot, log or frame does not fit (schema, partitions, topic)
└── NewerFormat            a frame or signal that only a newer Headwater reads
```
Bad data is never an exception: decoders return ``(batch, rejects)``.
"""


class HeadwaterError(Exception):
    """Root of every error that Headwater raises on purpose."""


class ConfigurationError(HeadwaterError):
    """A setting or argument cannot work; says what was expected, what came, what to do."""


class ServerUnreachable(HeadwaterError):
    """Kafka, Redis or the snapshot store did not answer within its bound."""


class ServerRefused(ServerUnreachable):
    """Kafka or Redis answered and did not let us in: certificate, user or protocol."""


class LogGap(HeadwaterError):
    """A log starts above the next offset that the state wants: records are lost to us."""


class FrameHole(LogGap):
    """An item-deltas frame starts above the watermark of its source partition."""


class FencedInstanceId(HeadwaterError):
    """Another worker joined the group under this worker's instance id and has its partitions."""


class PartitionElsewhere(HeadwaterError):
    """A question about a user or item whose partition this process does not hold."""


class SnapshotNotWritten(HeadwaterError):
    """The store did not take a snapshot; what it held is untouched, and a later try may do."""


class CorruptBatch(HeadwaterError):
    """Kafka handed out a record batch that cannot be read: checksum, codec, positions or size."""


class NewerFormat(HeadwaterError):
    """A frame or a signal is of a format version above those that this Headwater reads."""


class StateMismatch(HeadwaterError):
    """A snapshot, a log or a frame belongs to another state: schema, partitions, topic."""
