from __future__ import annotations

from dataclasses import fields

import numpy as np

from models.lessons import Lesson, ReplayBuffer
from models.synthetic import random_inputs


def make_lesson(num_candidates: tuple[int, ...] = (3, 5, 2), seed: int = 0) -> Lesson:
    inputs = random_inputs(num_candidates=num_candidates, dim=4, max_history=2, seed=seed)
    count = len(num_candidates)
    return Lesson(
        inputs=inputs,
        targets=inputs.splits[:-1] + 1,
        is_positive=np.arange(count) % 2 == 0,
        head_labels=np.arange(count * 5, dtype=np.float32).reshape(count, 5),
    )


def assert_equal(one: Lesson, two: Lesson) -> None:
    for field in fields(one.inputs):
        np.testing.assert_array_equal(
            getattr(one.inputs, field.name), getattr(two.inputs, field.name), err_msg=field.name
        )
    np.testing.assert_array_equal(one.targets, two.targets)
    np.testing.assert_array_equal(one.is_positive, two.is_positive)
    np.testing.assert_array_equal(one.head_labels, two.head_labels)


def test_users_apart_and_joined_again_are_the_lesson() -> None:
    lesson = make_lesson()
    parts = [lesson.users(np.array([user])) for user in range(3)]
    assert [len(part.inputs) for part in parts] == [3, 5, 2]
    assert [part.targets.tolist() for part in parts] == [[1], [1], [1]]
    assert_equal(Lesson.concat(parts), lesson)


def test_no_users_is_an_empty_lesson() -> None:
    empty = make_lesson().users(np.empty(0, np.int64))
    assert (len(empty), len(empty.inputs), empty.inputs.splits.tolist()) == (0, 0, [0])


def test_replay_keeps_the_newest_up_to_its_bound() -> None:
    buffer = ReplayBuffer(max_lessons=4)
    for seed in range(3):
        buffer.add(make_lesson(seed=seed))
    assert len(buffer) == 4
    drawn = buffer.draw(200)
    labels = {(len(lesson.inputs), float(lesson.head_labels[0, 0])) for lesson in drawn}
    assert labels == {(2, 10.0), (3, 0.0), (5, 5.0)}


def test_recent_lessons_are_drawn_more_often() -> None:
    buffer = ReplayBuffer(max_lessons=20)
    for size in range(2, 22):
        buffer.add(make_lesson((size,)))
    sizes = np.array([len(lesson.inputs) for lesson in buffer.draw(400)])
    assert (sizes >= 12).sum() > 2 * (sizes < 12).sum()


def test_an_empty_or_absent_buffer_gives_nothing() -> None:
    assert ReplayBuffer(max_lessons=3).draw(5) == []
    none = ReplayBuffer(max_lessons=0)
    none.add(make_lesson())
    assert (len(none), none.draw(5)) == (0, [])
