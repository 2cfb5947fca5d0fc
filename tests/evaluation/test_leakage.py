"""Nothing comes from the future: what lies after a moment changes no list at it or before."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.prequential import Contender, Prequential, Protocol
from models.fusion import FusionRanker
from stream.candidates import SOURCES
from tests.evaluation.tiny_logs import (
    START_MS,
    Event,
    decode,
    evaluate,
    network_trainer,
    small_pipeline,
    small_replay,
)

each_ranker = pytest.mark.parametrize("learn", [False, True], ids=["fusion", "network"])
Listed = tuple[object, ...]


def busy_log(seed: int = 0, num_events: int = 160, prefix: str = "i") -> list[Event]:
    """Return a log with repeats, equal times and several types."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, num_events * 2, num_events)).tolist()
    return [
        Event(f"u{random.integers(8)}", f"{prefix}{random.integers(20)}", at,
              str(random.choice(["watch", "like", "share"])))
        for at in times
    ]  # fmt: skip


def split(log: list[Event]) -> tuple[list[Event], list[Event], float]:
    """Return past, future, and a moment between them."""
    cut = len(log) // 2
    while log[cut].at - log[cut - 1].at < 2:  # Room for the probes.
        cut += 1
    return log[:cut], log[cut:], log[cut - 1].at + 1


def shuffled(future: list[Event]) -> list[Event]:
    """Return the same events at each other's times."""
    order = np.random.default_rng(1).permutation(len(future)).tolist()
    return [future[place]._replace(at=event.at) for place, event in zip(order, future, strict=True)]


def replaced(future: list[Event]) -> list[Event]:
    """Return other events: other users and counts, known items and new ones.

    Shuffling keeps how often each item comes; what is counted over the whole log shows only here.
    """
    other = busy_log(seed=9, num_events=len(future), prefix="j")
    return [
        event._replace(at=old.at, item="i3" if place % 3 else event.item)
        for place, (event, old) in enumerate(zip(other, future, strict=True))
    ]


def lists_until(log: list[Event], moment: float) -> list[Listed]:
    """Return (contender, user, time, rows, scores) of every list until a moment, it included."""
    lists: list[Listed] = []
    replay, trainer = small_replay(), network_trainer()
    names = replay.engine.catalogue.items
    contenders = [
        Contender(name=name, pipeline=small_pipeline(replay.engine, sources=(name,)))
        for name in SOURCES
    ]
    contenders += [
        Contender(
            name="network", pipeline=replay.pipeline, ranker=trainer.scorer(), trainer=trainer
        ),
        Contender(
            name="fusion",
            pipeline=replay.pipeline,
            ranker=FusionRanker((1.0,) * len(SOURCES)),
        ),
    ]

    def note(
        name: str, user: bytes, now_ms: int, rows: NDArray[np.int32], scores: NDArray[np.float32]
    ) -> None:
        if now_ms <= START_MS + moment * 1000:
            lists.append((name, user, now_ms, names.ids(rows), scores.tolist()))

    protocol = Protocol(warmup=0.0)
    Prequential(replay, contenders, protocol=protocol, on_list=note).run(decode(log))
    return lists


@pytest.mark.parametrize(
    "other", [shuffled, replaced, lambda _: []], ids=["shuffled", "replaced", "none"]
)
def test_shuffling_the_future_changes_no_list_of_the_past(
    other: Callable[[list[Event]], list[Event]],
) -> None:
    past, future, moment = split(busy_log(num_events=100))
    # Everybody's list at the moment itself, as of the last state of the past.
    probes = [Event(f"u{user}", "i0", moment, "like") for user in range(8)]
    expected = lists_until(past + probes + future, moment)
    found = lists_until(past + probes + other(future), moment)
    assert found == expected
    last = {each[:2] for each in found if each[2] == START_MS + moment * 1000 and each[3]}
    names = [*SOURCES, "network", "fusion"]
    assert last == {(name, b"u%d" % user) for name in names for user in range(8)}
    assert len(found) > 40 * len(names)  # As many of each.


@each_ranker
def test_a_canary_is_never_recommended_before_it_appears(learn: bool) -> None:
    log = busy_log(seed=3, num_events=120)
    end = log[-1].at + 10
    log += [Event("u1", "canary", end), Event("u2", "canary", end + 1), Event("u3", "i1", end + 2)]
    canary = {
        "item_id": "canary", "author_id": "x", "created_at": START_MS, "ts": START_MS + end * 1000,
    }  # fmt: skip
    when: list[int] = []

    def note(_: bytes, now_ms: int, items: list[bytes], __: list[float]) -> None:
        if b"canary" in items:
            when.append(now_ms)

    evaluate(log, learn=learn, items=[json.dumps(canary).encode()], on_list=note)
    assert when
    assert min(when) >= START_MS + end * 1000


def test_a_canary_without_an_announcement_waits_until_it_is_learned() -> None:
    log = busy_log(seed=3, num_events=120)
    end = log[-1].at + 10
    log += [Event("u1", "canary", end), Event("u2", "canary", end + 1)]
    when: list[int] = []
    evaluate(
        log, on_list=lambda _, at, items, __: when.append(at) if b"canary" in items else None
    )  # fmt: skip
    assert when == [START_MS + (end + 1) * 1000]


def test_a_network_learns_an_event_only_after_its_test() -> None:
    log = [Event(f"u{at % 3}", f"i{at % 5}", at) for at in range(12)]
    first: list[Listed] = []
    evaluate(log, learn=True, warmup=0.75, on_list=lambda *found: first.append(found))
    replay = small_replay()
    replay.fold(decode(log[:9]))
    at_ms = START_MS + 9_000
    users = replay.pipeline.read_users(0, [b"u0"], now_ms=at_ms)
    untrained = network_trainer().scorer().score(replay.pipeline.retrieve(users).inputs)
    assert first[0][3] == untrained.values.tolist()
    assert len(first) == 3
