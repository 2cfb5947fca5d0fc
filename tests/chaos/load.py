"""Load: seeded events that reach Kafka through a client that is not ours, and what it was told.

An event is accepted when the broker has acknowledged it; only those must not be lost. Ids carry
words (``PERSON``, ``THING``) that occur nowhere else, so that a log line which has one shows.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

PERSON, THING = "qperson", "qthing"
_TYPES = ("watch", "like", "comment", "share", "not_interested", "follow", "unlike", "erase")
_SHARES = (0.62, 0.16, 0.06, 0.06, 0.03, 0.03, 0.04, 0.0)
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Mix:
    """What a log is made of.

    Attributes:
        num_users: Few of them very active, unless ``is_even``.
        num_items: Few of them seen often.
        duplicates: Share of events that are sent again: at once, or up to ``far`` events later.
        far: See ``duplicates``.
        late: Share that is three days behind.
        shuffled: Events change places within windows of so many.
        skew_ms: Clocks of users differ by up to so much, both ways.
        erases: Share that asks to be forgotten.
        bad: Share that cannot be used.
        misrouted: Share that lies in the wrong partition.
        is_even: Whether users take turns, so that all of them are there after as many events.
        has_unlikes: Whether likes are taken back; where not, a comment stands in the place.
    """

    num_users: int = 120
    num_items: int = 200
    duplicates: float = 0.01
    far: int = 50
    late: float = 0.002
    shuffled: int = 1
    skew_ms: int = 5_000
    erases: float = 0.002
    bad: float = 0.0
    misrouted: float = 0.0
    is_even: bool = False
    has_unlikes: bool = True


@dataclass(frozen=True)
class Sending:
    """A record to send.

    Attributes:
        value: Bytes as they go to Kafka.
        user: Whose list it changes; None where it changes none (bad, late, a copy).
        is_erase: It takes the list away.
        key: Decides the partition where none is given.
        partition: Where it is sent whatever its key.
        timestamp_ms: Kafka's own time, where the topic keeps what producers say.
    """

    value: bytes | None
    user: str | None = None
    is_erase: bool = False
    key: bytes | None = None
    partition: int | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True)
class Accepted:
    """A record that the broker acknowledged."""

    sending: Sending
    partition: int
    offset: int
    at_s: float


def events(seed: int, mix: Mix = Mix(), *, num_partitions: int = 3) -> Iterator[Sending]:
    """Yield a seeded log without an end; times begin now, so that clocks matter as in life."""
    draw = random.Random(f"{seed} events")
    window: list[Sending] = []
    for sending in _in_order(draw, mix, num_partitions):
        window.append(sending)
        if len(window) >= mix.shuffled:
            draw.shuffle(window)
            yield from window
            window.clear()


def _in_order(draw: random.Random, mix: Mix, num_partitions: int) -> Iterator[Sending]:
    begin_ms, recent = int(time.time() * 1000), []
    index = 0
    while True:
        if recent and draw.random() < mix.duplicates:
            copy = recent[-1 - draw.randrange(min(len(recent), mix.far))]
            yield Sending(copy.value, key=copy.key)
            continue
        index += 1
        if draw.random() < mix.bad:
            yield Sending(draw.choice((b"", b"{", b"[]", b'{"type": "watch"}')), key=b"nobody")
            continue
        sending = _event(draw, mix, index, begin_ms)
        if draw.random() < mix.misrouted:
            yield Sending(sending.value, partition=draw.randrange(num_partitions))
            continue
        recent = [*recent[-mix.far :], sending]
        yield sending


def _event(draw: random.Random, mix: Mix, index: int, begin_ms: int) -> Sending:
    rank = index if mix.is_even else min(int(draw.paretovariate(0.6)), 10**6)
    user = f"{PERSON}-{rank % mix.num_users}"
    type_ = draw.choices(_TYPES, _SHARES)[0]
    if type_ == "unlike" and not mix.has_unlikes:
        type_ = "comment"
    if draw.random() < mix.erases:
        type_ = "erase"
    is_late = draw.random() < mix.late
    # 100 ms of event time each: hours go by in a run, and tiles turn, until that is now.
    ts = min(begin_ms - 7_200_000 + index * 100, int(time.time() * 1000))
    ts += draw.randint(-mix.skew_ms, mix.skew_ms)
    fields: dict[str, object] = {
        "event_id": f"e{index}",
        "type": type_,
        "user_id": user,
        "item_id": f"{THING}-{min(int(draw.paretovariate(0.5)), 10**6) % mix.num_items}",
        "ts": ts - 3 * _DAY_MS if is_late else ts,
    }
    if type_ == "watch":
        fields |= {"watch_ms": draw.randrange(30_000), "duration_ms": 30_000}
    if type_ == "erase":
        del fields["item_id"]
    return Sending(
        json.dumps(fields).encode(),
        user=None if is_late else user,
        is_erase=type_ == "erase",
        key=user.encode(),
    )


class Load:
    """Sends records from a thread of its own and keeps what was acknowledged.

    Args:
        bootstrap: Kafka.
        topic: Where to.
        sendings: What is sent, in order.
        on_accepted: Told of each acknowledgement, on the client's thread.
    """

    def __init__(
        self, bootstrap: str, topic: str, sendings: Iterable[Sending], on_accepted: Any = None
    ) -> None:
        self.accepted: list[Accepted] = []
        self.num_sent = 0
        self.refused: list[str] = []
        self._topic = topic
        self._sendings = iter(sendings)
        self._on_accepted = on_accepted
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            delivery_timeout_ms=600_000,
            request_timeout_ms=5_000,
            max_block_ms=600_000,
            max_request_size=20_000_000,
            reconnect_backoff_max_ms=500,
        )

    def start(self, rate: float) -> None:
        """Send ``rate`` events per second until :meth:`stop`."""
        assert self._thread is None
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(rate,), daemon=True, name="load")
        self._thread.start()

    def stop(self, bound_s: float = 120.0) -> None:
        """Send no more; returns when everything sent is acknowledged or refused."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join(bound_s)
            assert not self._thread.is_alive(), "the load does not stop"
            self._thread = None
        self._producer.flush(timeout=bound_s)
        assert len(self.accepted) + len(self.refused) == self.num_sent, "acknowledgements are open"

    def burst(self, count: int) -> None:
        """Send so many events at once and return when they are acknowledged."""
        for _ in range(count):
            self._send_next()
        self._producer.flush(timeout=120)

    def _send_next(self) -> None:
        """Send the next event; a burst and the steady load take turns."""
        with self._turn:
            self.send(next(self._sendings))

    def send(self, sending: Sending) -> None:
        """Send one record; returns before it is acknowledged."""
        self.num_sent += 1
        future = self._producer.send(
            self._topic,
            value=sending.value,
            key=sending.key or (b"nobody" if sending.value is None else None),
            partition=sending.partition,
            timestamp_ms=sending.timestamp_ms,
        )
        future.add_callback(self._accept, sending)
        future.add_errback(self._refuse)

    def close(self) -> None:
        """Give up what is open; safe at any time."""
        self._stop.set()
        self._producer.close(timeout=1)

    def _accept(self, sending: Sending, metadata: Any) -> None:
        accepted = Accepted(sending, metadata.partition, metadata.offset, time.monotonic())
        with self._lock:
            self.accepted.append(accepted)
        if self._on_accepted is not None:
            self._on_accepted(accepted)

    def _refuse(self, error: KafkaError) -> None:
        with self._lock:
            self.refused.append(repr(error))

    def _run(self, rate: float) -> None:
        begin_s, count = time.monotonic(), 0
        while not self._stop.wait(0.02):
            due = int((time.monotonic() - begin_s) * rate)
            # After a pause (a broker that is away) at most a second's worth is made up for.
            count = max(count, due - int(rate))
            while count < due and not self._stop.is_set():
                self._send_next()
                count += 1
