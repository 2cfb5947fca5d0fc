"""Training in one pass: labels by hand, what is learned, and that the past alone teaches."""

import numpy as np
import pytest

from evaluation.learning import labels_of, train_on
from tests.evaluation.tiny_logs import Event, decode, network_trainer, small_replay


def test_labels_are_what_the_users_did_next() -> None:
    replay = small_replay(sources=("trending",))
    replay.fold(decode([Event("u1", "a", 1), Event("u2", "b", 1)]))
    users = replay.pipeline.read_users(0, [b"u1", b"new", b"u2"], now_ms=replay.stream_time_ms)
    refresh = replay.pipeline.retrieve(users)
    coming = decode([Event("u1", "b", 2), Event("new", "x", 2), Event("u2", "a", 2, "like")])

    labels = labels_of(refresh, coming, [0, 1, 2], replay)

    names = replay.engine.catalogue.items.ids(refresh.candidates.item_rows)
    splits = refresh.candidates.splits.tolist()
    assert [names[target] for target in labels.targets[[0, 2]]] == [b"b", b"a"]
    assert splits[2] <= labels.targets[2] < splits[3]
    assert labels.targets[1] == -1
    assert labels.actions.tolist() == [0, 0, 1]
    assert labels.completions[:2].tolist() == [1.0, 1.0]
    assert np.isnan(labels.completions[2])


def test_training_learns_and_is_the_same_twice() -> None:
    random = np.random.default_rng(0)
    log = [Event(f"u{random.integers(5)}", f"i{random.integers(8)}", at) for at in range(150)]
    weights = []
    for _ in range(2):
        trainer, replay = network_trainer(), small_replay()
        done: list[tuple[int, int]] = []
        train_on(decode(log), replay, trainer, on_progress=lambda *at, into=done: into.append(at))
        assert replay.engine.counters()["applied"] == 150
        assert done[-1] == (150, 150)
        assert trainer.num_learned > 10
        weights.append(trainer.to_weights())
    first, second = (each.to_network().state_dict() for each in weights)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", ["unlike", "erase"])
def test_what_names_no_next_item_teaches_nothing(kind: str) -> None:
    log = [Event("u1", "a", 1), Event("u2", "b", 1)]
    log += [Event("u1", "" if kind == "erase" else "a", 2, kind)] * 40
    trainer = network_trainer()
    train_on(decode([each._replace(at=at) for at, each in enumerate(log)]), small_replay(), trainer)
    assert trainer.num_learned == 0
