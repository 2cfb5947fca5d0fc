"""What becomes of slabs whose partition is given up and taken up again while they wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.frame_producer import FrameProducer
from consumers.handlers import SlabHandlers
from consumers.producer import Outgoing
from consumers.state_thread import WorkThread
from stream.errors import ServerUnreachable
from stream.freshness import FreshnessLedger
from stream.slab import Slab
from tests.consumers.test_ownership import KEY, LINES, TOPIC, Owner


@pytest.fixture
def state() -> Iterator[WorkThread]:
    thread = WorkThread("state")
    yield thread
    thread.close()


class Sender:
    """Takes what would go to Kafka."""

    async def send(self, *_: Any, **__: Any) -> None:
        return None

    def give_up(self, failure: Exception) -> None:
        return None


class AwaySender(Sender):
    """Finds no Kafka."""

    async def send(self, *_: Any, **__: Any) -> None:
        message = "expected Kafka, got nothing"
        raise ServerUnreachable(message)


def handlers_of(
    owner: Owner,
    state: WorkThread,
    max_waiting_bytes: int,
    *,
    frames: Any = None,
    dead_letters: Any = None,
    copies: Any = None,
) -> SlabHandlers:
    sender: Any = Sender()
    handlers = SlabHandlers(
        pipeline=owner.pipeline,
        state=state,
        ownership=owner.ownership,
        frames=frames or sender,
        dead_letters=dead_letters or sender,
        copies=copies or sender,
        freshness=FreshnessLedger(max_events=100),
        offer=lambda users: None,
        release=lambda partition: None,
        erase=lambda erased: None,
        on_fold=lambda folded, seconds: None,
        interactions=TOPIC,
        item_deltas="item-deltas",
        max_waiting_bytes=max_waiting_bytes,
    )

    def forget(kind: str, partition: int) -> None:
        # At the latest moment, when the state is loaded anew: nobody who waited has run since.
        if KEY in owner.ownership.assigned:
            handlers.forget(TOPIC, partition)

    owner.ownership._on_assign = forget
    return handlers


def slab(begin: int, end: int) -> Slab:
    return Slab.from_values(LINES[begin:end], first_offset=begin)


def test_a_slab_that_waited_across_a_reassignment_is_read_anew_and_no_gap(
    tmp_path: Path, state: WorkThread
) -> None:
    #   slabs:   [0-----20) in the inbox, [20-----40) waits for room
    #   then:    given up, moved away, assigned again at 0
    async def scenario() -> int | None:
        owner = Owner(tmp_path, state)
        await owner.ownership.restore({KEY})
        handlers = handlers_of(owner, state, max_waiting_bytes=slab(0, 20).buffer.nbytes)
        await handlers.accept(slab(0, 20))
        waiting = asyncio.create_task(handlers.accept(slab(20, 40)))
        await asyncio.sleep(0)
        assert not waiting.done()
        await owner.ownership.release({KEY})
        await owner.ownership.retain(set())
        await owner.ownership.restore({KEY})
        await waiting
        assert handlers.waiting_bytes()[TOPIC] == 0

        folding = asyncio.create_task(handlers.run())
        await handlers.accept(slab(0, 20))
        await handlers.accept(slab(20, 40))
        while owner.ownership.next_offset(*KEY) != 40:
            assert not folding.done(), folding.exception()
            await asyncio.sleep(0)
        folding.cancel()
        return owner.ownership.next_offset(*KEY)

    assert asyncio.run(scenario()) == 40


def test_a_hand_over_does_not_wait_for_rows_that_a_failed_fold_never_sends(
    tmp_path: Path, state: WorkThread
) -> None:
    #   fold [0-----20) -> dead letters: no Kafka -> no row is ever sent
    #   given up meanwhile: its snapshot waits until the rows below 20 are acknowledged
    async def scenario() -> None:
        owner = Owner(tmp_path, state)
        unstarted: Any = None  # No frame comes so far.
        frames = FrameProducer(unstarted, topic="item-deltas")
        owner.ownership._settle = frames.wait_acknowledged
        await owner.ownership.restore({KEY})
        frames.begin(0, 0)
        handlers = handlers_of(
            owner, state, max_waiting_bytes=1 << 20, frames=frames, dead_letters=AwaySender()
        )
        working = asyncio.create_task(handlers.run())
        await handlers.accept(slab(0, 20))
        while owner.ownership.next_offset(*KEY) != 20:
            assert not working.done(), working.exception()
            await asyncio.sleep(0)
        releasing = asyncio.create_task(owner.ownership.release({KEY}))
        await asyncio.wait({working})
        assert working.exception() is not None
        async with asyncio.timeout(10):
            with pytest.raises(ServerUnreachable, match="expected Kafka, got nothing"):
                await releasing
        assert owner.names() == []
        assert isinstance(owner.ownership.release_failure, ServerUnreachable)

    asyncio.run(scenario())


class CopySender:
    """Keeps the headers of what would be copied into other partitions."""

    def __init__(self) -> None:
        self.headers: list[list[tuple[str, bytes]]] = []

    async def send_all(self, topic: str, records: Iterable[Outgoing]) -> None:
        self.headers += [list(record.headers) for record in records]


def test_a_copy_names_its_place_and_the_topic_that_it_is_a_place_of(
    tmp_path: Path, state: WorkThread
) -> None:
    async def scenario() -> list[list[tuple[str, bytes]]]:
        owner = Owner(tmp_path, state, partitions=2, topic_id="first")
        await owner.ownership.restore({(TOPIC, 1)})
        assert owner.pipeline.engine.topic_id == "first"
        copies = CopySender()
        handlers = handlers_of(owner, state, max_waiting_bytes=1 << 20, copies=copies)
        folding = asyncio.create_task(handlers.run())
        # Users whose partition is 0.
        await handlers.accept(Slab.from_values(LINES[:20], partition=1))
        async with asyncio.timeout(30):
            while not copies.headers:
                assert not folding.done(), folding.exception()
                await asyncio.sleep(0)
        folding.cancel()
        return copies.headers

    first = asyncio.run(scenario())[0]
    assert dict(first).keys() == {"headwater-from", "headwater-source"}
    assert dict(first)["headwater-source"] == b"first"
