from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.errors import WeightsInvalid
from models.network import HEADS, NetworkConfig
from models.scorer import TorchScorer
from models.synthetic import planted_inputs, random_inputs
from models.training import (
    COMMENT,
    FOLLOW,
    LIKE,
    NOT_INTERESTED,
    SHARE,
    WATCH,
    Trainer,
    TrainingLabels,
    TrainingMetrics,
)
from stream.events import Action

CONFIG = NetworkConfig(dim=16, attention_dim=8, hidden_dim=16, second_dim=8)
# Wide enough that a projection of the embedding keeps what resembles.
PLANTED = NetworkConfig(dim=32, hidden_dim=32, second_dim=16)
UNLIKE, ERASE = int(Action.UNLIKE), int(Action.ERASE)


def labels(
    targets: list[int] | np.ndarray, actions: list[int], completions: list[float] | None = None
) -> TrainingLabels:
    shares = [1.0 if action == WATCH else np.nan for action in actions]
    return TrainingLabels(
        targets=np.asarray(targets, np.int64),
        actions=np.asarray(actions, np.uint8),
        completions=np.asarray(completions or shares, np.float32),
    )


def learn_planted(
    trainer: Trainer, *, num_steps: int, first_seed: int = 0
) -> list[TrainingMetrics]:
    metrics = []
    for step in range(num_steps):
        inputs, targets = planted_inputs(
            num_users=8, candidates_each=40, dim=32, seed=first_seed + step
        )
        metrics.append(trainer.learn(inputs, TrainingLabels.watches(targets)))
    return metrics


def test_action_codes_are_those_of_the_wire() -> None:
    codes = (WATCH, LIKE, COMMENT, SHARE, NOT_INTERESTED, FOLLOW)
    assert codes == tuple(Action)[:6]


def test_a_planted_pattern_is_learned_far_better_than_chance() -> None:
    trainer = Trainer(PLANTED, seed=1)
    metrics = learn_planted(trainer, num_steps=60)
    ranks = np.concatenate([metric.ranks for metric in metrics])
    # Ten of forty by chance: a quarter.
    assert (ranks[:40] <= 10).mean() < 0.6
    assert (ranks[-80:] <= 10).mean() > 0.9
    losses = [metric.loss for metric in metrics]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


def test_what_was_learned_survives_saving_and_serving() -> None:
    trainer = Trainer(PLANTED, seed=1)
    learn_planted(trainer, num_steps=60)
    inputs, targets = planted_inputs(num_users=20, candidates_each=40, dim=32, seed=999)
    served = TorchScorer(trainer.to_weights("planted"), device="cpu").score(inputs).values
    np.testing.assert_allclose(served, trainer.scorer().score(inputs).values, rtol=1e-5)
    best = inputs.splits[:-1] + served.reshape(20, 40).argmax(axis=1)
    assert (best == targets).mean() > 0.7


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def trained(seed: int, replay_size: int) -> bytes:
        trainer = Trainer(PLANTED, seed=seed, replay_size=replay_size)
        learn_planted(trainer, num_steps=4)
        return trainer.to_weights().to_bytes()

    assert trained(0, 0) == trained(0, 0)
    assert trained(0, 16) == trained(0, 16)
    assert trained(0, 16) != trained(0, 0)
    assert trained(1, 0) != trained(0, 0)


def test_training_touches_no_global_generator() -> None:
    before = torch.random.get_rng_state()
    learn_planted(Trainer(PLANTED, replay_size=4), num_steps=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_ranks_are_those_of_the_network_before_the_step() -> None:
    inputs, targets = planted_inputs(num_users=3, candidates_each=30, dim=16)
    trainer = Trainer(CONFIG, seed=1)
    values = trainer.scorer().score(inputs).values
    expected = [
        1 + (values[begin : begin + 30] > values[target]).sum()
        for begin, target in zip(inputs.splits[:-1], targets, strict=True)
    ]
    metrics = trainer.learn(inputs, TrainingLabels.watches(targets))
    np.testing.assert_array_equal(metrics.ranks, expected)


def test_users_without_their_item_or_without_candidates_are_left_out() -> None:
    inputs = random_inputs(num_candidates=(20, 0, 5, 8), dim=16)
    trainer = Trainer(CONFIG)
    metrics = trainer.learn(inputs, labels([-1, -1, 22, -1], [WATCH] * 4))
    assert metrics.num_learned == 1
    assert (metrics.ranks > 0).tolist() == [False, False, True, False]


def test_leaving_users_out_equals_not_having_them() -> None:
    inputs = random_inputs(num_candidates=(20, 0, 5, 8), dim=16)
    alone = random_inputs(num_candidates=(20, 0, 5, 8), dim=16).take(np.arange(20, 25))
    one, two = Trainer(CONFIG), Trainer(CONFIG)
    one.learn(inputs, labels([-1, -1, 22, -1], [LIKE] * 4))
    two.learn(alone, labels([-1, -1, 2, -1], [LIKE] * 4))
    assert one.to_weights().to_bytes() == two.to_weights().to_bytes()


@pytest.mark.parametrize("action", [UNLIKE, ERASE])
def test_taking_back_teaches_nothing(action: int) -> None:
    trainer = Trainer(CONFIG)
    before = trainer.to_weights().to_bytes()
    inputs = random_inputs(num_candidates=(20,), dim=16)
    metrics = trainer.learn(inputs, labels([3], [action]))
    assert (metrics.num_learned, np.isnan(metrics.loss)) == (0, True)
    assert trainer.to_weights().to_bytes() == before


def test_a_batch_without_anything_to_learn_is_no_step() -> None:
    trainer = Trainer(CONFIG)
    nobody = trainer.learn(random_inputs(num_candidates=(), dim=16), labels([], []))
    nothing = trainer.learn(random_inputs(num_candidates=(0,), dim=16), labels([-1], [WATCH]))
    assert (nobody.num_learned, nothing.num_learned, trainer.num_steps) == (0, 0, 0)


def head_after(action: int, completion: float = np.nan, steps: int = 60) -> dict[str, float]:
    """Conditional probability per head for an item on which one action was taken repeatedly."""
    trainer = Trainer(CONFIG, heads_weight=1.0)
    inputs = random_inputs(num_candidates=(20,), dim=16, seed=5)
    for _ in range(steps):
        trainer.learn(inputs, labels([3], [action], [completion]))
    heads = trainer.scorer().score(inputs).heads[3]
    # The choice is a common factor: only ratios of heads are conditional.
    return dict(zip(HEADS, heads / heads.max(), strict=True))


@pytest.mark.parametrize(
    ("action", "head"),
    [(LIKE, "like"), (COMMENT, "comment"), (SHARE, "share"), (NOT_INTERESTED, "not_interested")],
)
def test_each_action_raises_its_own_head(action: int, head: str) -> None:
    after = head_after(action)
    others = {name: value for name, value in after.items() if name not in (head, "completion")}
    assert after[head] > 3 * max(others.values())


def test_completion_is_a_soft_label() -> None:
    whole, half = head_after(WATCH, 1.0), head_after(WATCH, 0.5)
    assert whole["completion"] == 1.0
    assert whole["like"] < half["like"]


def test_not_interested_and_short_watches_do_not_raise_the_choice() -> None:
    inputs = random_inputs(num_candidates=(20,), dim=16, seed=5)
    for label in (labels([3], [NOT_INTERESTED]), labels([3], [WATCH], [0.1])):
        trainer = Trainer(CONFIG)
        before = trainer.scorer().score(inputs)
        for _ in range(30):
            metrics = trainer.learn(inputs, label)
        after = trainer.scorer().score(inputs)
        assert np.isnan(metrics.listwise_loss)
        assert after.values[3] < before.values[3]


def test_a_positive_action_raises_the_value_of_its_item_above_the_others() -> None:
    inputs = random_inputs(num_candidates=(20,), dim=16, seed=5)
    for action in (WATCH, LIKE, COMMENT, SHARE, FOLLOW):
        trainer = Trainer(CONFIG)
        for _ in range(60):
            metrics = trainer.learn(inputs, labels([3], [action]))
        assert metrics.ranks[0] == 1.0
        assert metrics.loss < 2.0


def test_probabilities_come_out_calibrated() -> None:
    trainer = Trainer(CONFIG, seed=1, choice_weight=1.0)
    random = np.random.default_rng(0)
    # The next item is any of ten, alike: one in ten.
    for seed in range(200):
        inputs = random_inputs(num_candidates=(10,) * 4, dim=16, max_history=4, seed=seed)
        targets = inputs.splits[:-1] + random.integers(0, 10, 4)
        trainer.learn(inputs, TrainingLabels.watches(targets, completion=0.5))
    heads = trainer.scorer().score(random_inputs(num_candidates=(10,) * 50, dim=16, seed=999)).heads
    assert 0.03 < heads[:, 0].mean() < 0.08  # One in ten, half watched.
    assert heads[:, 1:].max() < 0.03


def test_replay_is_bounded_and_not_counted_as_learned() -> None:
    trainer = Trainer(PLANTED, seed=1, replay_size=5, replays_per_event=2)
    learn_planted(trainer, num_steps=3)
    assert len(trainer._replay) == 5
    assert trainer.num_learned == 24


def test_a_target_that_is_not_the_users_own_is_refused() -> None:
    inputs = random_inputs(num_candidates=(5, 5), dim=16)
    with pytest.raises(ValueError, match=r"expected user 1's target in \[5, 10\), got 3"):
        Trainer(CONFIG).learn(inputs, labels([2, 3], [WATCH, WATCH]))
    with pytest.raises(ValueError, match="expected 2 targets, got 1"):
        Trainer(CONFIG).learn(inputs, labels([2], [WATCH]))


def test_bad_inputs_change_no_parameter() -> None:
    trainer = Trainer(CONFIG)
    before = trainer.to_weights().to_bytes()
    inputs = random_inputs(num_candidates=(5,), dim=16)
    bad = replace(inputs, candidate_popularity_logs=inputs.candidate_popularity_logs * np.nan)
    with pytest.raises(ValueError, match="finite loss"):
        trainer.learn(bad, labels([2], [WATCH]))
    assert trainer.to_weights().to_bytes() == before


def test_parameters_that_are_not_finite_become_no_weights() -> None:
    trainer = Trainer(CONFIG)
    with torch.no_grad():
        trainer._network.output.bias[0] = torch.nan
    with pytest.raises(WeightsInvalid, match="finite"):
        trainer.to_weights()
