"""Online training in one pass over time: test, then learn, event by event.

The driver retrieves candidates for the users of some events *before* it folds these events, calls
:meth:`Trainer.learn` with what happened next, and folds. One call is one optimiser step.

Loss of one event whose item is among the user's candidates:

- **listwise**: softmax cross-entropy over the user's candidates of the logarithm of the value's
  positive part, ``ln sigmoid(r) + ln Σ_{w>0} w σ(z)``, target = the item that came next. The
  conditional part is held fixed there, so that the order is learned by the choice ``r`` and the
  heads stay calibrated. Only where the action is *positive* (below).
- **choice**: binary cross-entropy of ``sigmoid(r)`` over the same candidates, small weight: it
  fixes the level that a softmax leaves free, so that probabilities are probabilities.
- **heads**: binary cross-entropy of the conditional logits on the observed item only: like,
  comment, share and not interested are 1 or 0; completion is the watched share (a soft label) and
  is left out where the event is not a watch. FOLLOW teaches no head.

**What is negative.** The log holds what users did, not what they were shown. The other candidates
of the moment are therefore negatives of the *choice* ("was not next"), never of the heads: an item
without an impression says nothing of what the user would have done with it. ``P(a)`` is thus "the
next action is ``a`` on this item, given that it is on one of the candidates"; with an impression
log the choice could become a probability per impression.

**Positive** are like, comment, share, follow, and a watch of at least ``min_completion``. A shorter
watch and not_interested teach the heads alone; unlike and erase nothing.

Absent: clocks, files, schedules; dropout; an epoch. Deterministic by seed on one device and one
number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.lessons import Lesson, ReplayBuffer
from models.network import (
    DEFAULT_HEAD_WEIGHTS,
    HEADS,
    NetworkConfig,
    RankingNetwork,
    head_probabilities,
)
from models.ranking import RankingInputs
from models.scorer import CPU_MAX_TILES, LoadedNetwork
from models.tiles import TILE_WIDTH, micro_batches, tile_tensors, user_tensors
from models.weights import NetworkWeights, check_head_weights

# Action codes of the wire (``stream.events.Action``), equality guarded by a test.
WATCH, LIKE, COMMENT, SHARE, NOT_INTERESTED, FOLLOW = range(6)
_HEAD_OF_ACTION = {LIKE: 1, COMMENT: 2, SHARE: 3, NOT_INTERESTED: 4}
_POSITIVE_ACTIONS = (LIKE, COMMENT, SHARE, FOLLOW)
# Keeps ln(value) finite where every probability underflows.
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLabels:
    """What each of B users did next.

    Attributes:
        targets: int64 (B,), index in C of the item; -1 where it is not among the candidates.
        actions: uint8 (B,), action code of the wire.
        completions: float32 (B,), watched share in [0, 1]; NaN where the event is no watch.
    """

    targets: NDArray[np.int64]
    actions: NDArray[np.uint8]
    completions: NDArray[np.float32]

    @classmethod
    def watches(cls, targets: NDArray[np.int64], completion: float = 1.0) -> TrainingLabels:
        """Make labels of watches that were all watched to the same share."""
        count = len(targets)
        return cls(
            targets=targets,
            actions=np.full(count, WATCH, np.uint8),
            completions=np.full(count, completion, np.float32),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMetrics:
    """What one call of :meth:`Trainer.learn` saw; all measured before the step (test, then learn).

    Attributes:
        num_learned: Events that taught something; 0 where the step was left out.
        loss: Mean over the learned events, replayed ones included; NaN without any.
        listwise_loss: Its listwise part, mean over positive events; NaN without any.
        heads_loss: Its part of the heads, mean over events that taught heads; NaN without any.
        ranks: float32 (B,), 1 + better values + half the ties of each user's item among the
            candidates given; 0 where it is not among them.
    """

    num_learned: int
    loss: float
    listwise_loss: float
    heads_loss: float
    ranks: NDArray[np.float32]


class Trainer:
    """Learns the network online. See the module's docstring for the loss."""

    def __init__(
        self,
        config: NetworkConfig,
        *,
        seed: int = 0,
        learning_rate: float = 0.1,
        head_weights: tuple[float, ...] = DEFAULT_HEAD_WEIGHTS,
        choice_weight: float = 0.1,
        heads_weight: float = 0.3,
        min_completion: float = 0.2,
        max_gradient: float = 5.0,
        replay_size: int = 0,
        replays_per_event: int = 1,
        device: str = "cpu",
    ) -> None:
        """Make a trainer of fresh parameters.

        Args:
            config: Shapes of the network.
            seed: Of parameters and replay draws.
            learning_rate: Of Adagrad whose accumulator starts at 1; the loss is a sum over events.
            head_weights: Signed weight per head, in the order of ``HEADS``.
            choice_weight: Weight of the choice's binary cross-entropy against the listwise loss.
            heads_weight: Weight of the heads' loss against the listwise loss.
            min_completion: Smallest watched share that counts as positive.
            max_gradient: Bound of the gradient's length in one step.
            replay_size: Bound of kept events; 0 keeps none.
            replays_per_event: Kept events learned again beside each new one, recent ones likelier.
            device: Torch device; the CPU is faster for single events.

        Raises:
            WeightsInvalid: The head weights cannot be used.
        """
        check_head_weights(head_weights)
        self._head_weights = head_weights
        self._device = torch.device(device)
        self._network = RankingNetwork(config, seed=seed).to(self._device)
        self._optimiser = torch.optim.Adagrad(
            self._network.parameters(), lr=learning_rate, initial_accumulator_value=1.0
        )
        self._choice_weight = choice_weight
        self._heads_weight = heads_weight
        self._min_completion = min_completion
        self._max_gradient = max_gradient
        self._replay = ReplayBuffer(max_lessons=replay_size, seed=seed)
        self._replays_per_event = replays_per_event
        self._positive_weights = torch.tensor(head_weights, device=self._device).clamp(min=0.0)
        self.num_steps = 0
        self.num_learned = 0

    def learn(self, inputs: RankingInputs, labels: TrainingLabels) -> TrainingMetrics:
        """Learn what each user did next; one optimiser step for the call.

        Args:
            inputs: B users and their candidates as they were before the events. What may not be
                recommended (seen items where repeats are excluded) should not be in it.
            labels: What happened.

        Returns:
            Metrics of the network as it was before the step.

        Raises:
            ValueError: Labels that do not fit the inputs, or a loss that is not finite.
        """
        # 1. What can be learned from.
        fresh, users = self._lesson(inputs, labels)
        ranks = np.zeros(inputs.num_users, np.float32)
        if len(fresh) == 0:
            return TrainingMetrics(
                num_learned=0, loss=math.nan, listwise_loss=math.nan, heads_loss=math.nan,
                ranks=ranks,
            )  # fmt: skip
        # 2. Test, together with what is replayed.
        replayed = self._replay.draw(len(fresh) * self._replays_per_event)
        lesson = Lesson.concat([fresh, *replayed])
        losses, values = self._forward(lesson)
        if not math.isfinite(float(losses.total.detach())):
            message = "expected a finite loss, got NaN or infinity; look for NaN in the inputs"
            raise ValueError(message)
        for index, user in enumerate(users):
            begin, end = fresh.inputs.splits[index : index + 2]
            ranks[user] = _rank(values[begin:end], int(fresh.targets[index] - begin))
        # 3. Learn.
        self._optimiser.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), self._max_gradient)
        self._optimiser.step()
        self._replay.add(fresh)
        self.num_steps += 1
        self.num_learned += len(fresh)
        return TrainingMetrics(
            num_learned=len(fresh),
            loss=float(losses.total.detach()) / len(lesson),
            listwise_loss=float(losses.listwise.detach()),
            heads_loss=float(losses.heads.detach()),
            ranks=ranks,
        )

    def scorer(self) -> LoadedNetwork:
        """Return a ranker over the live network: every score is of the parameters of that moment.

        For evaluation while learning, on one thread; its name is ``network-training``.
        """
        return LoadedNetwork(
            self._network,
            name="network-training",
            sequence=self.num_steps,
            head_weights=self._head_weights,
            device=self._device,
            max_tiles=CPU_MAX_TILES,
        )

    def to_weights(self, trained_on: str = "") -> NetworkWeights:
        """Copy the parameters of this moment.

        Args:
            trained_on: What the log was, for a person.

        Raises:
            WeightsInvalid: A parameter is not finite.
        """
        return NetworkWeights.of_network(
            self._network,
            head_weights=self._head_weights,
            trained_on=f"{trained_on or 'unnamed log'}; {self.num_learned} events learned",
        )

    def _lesson(
        self, inputs: RankingInputs, labels: TrainingLabels
    ) -> tuple[Lesson, NDArray[np.int64]]:
        """Return what can be learned from, and the user of each of its places."""
        _check_labels(inputs, labels)
        completions, actions = labels.completions, labels.actions
        is_watch = (actions == WATCH) & ~np.isnan(completions)
        is_positive = np.isin(actions, _POSITIVE_ACTIONS)
        is_positive |= is_watch & (np.nan_to_num(completions) >= self._min_completion)
        head_labels = np.full((len(actions), len(HEADS)), np.nan, np.float32)
        head_labels[is_watch, 0] = np.clip(completions[is_watch], 0.0, 1.0)
        is_taught = is_watch | np.isin(actions, list(_HEAD_OF_ACTION))
        head_labels[is_taught, 1:] = 0.0
        for action, head in _HEAD_OF_ACTION.items():
            head_labels[actions == action, head] = 1.0
        users = np.flatnonzero((labels.targets >= 0) & (is_positive | is_taught))
        lesson = Lesson(
            inputs=inputs,
            targets=labels.targets,
            is_positive=is_positive,
            head_labels=head_labels,
        )
        return (lesson if len(users) == len(lesson) else lesson.users(users)), users

    def _forward(self, lesson: Lesson) -> tuple[_Losses, NDArray[np.float32]]:
        """Return the losses and the value of every candidate, float32 (C,)."""
        inputs = lesson.inputs
        (batch,) = micro_batches(inputs.splits, max_tiles=len(inputs) + 1)
        users = user_tensors(inputs, batch, num_users=len(batch.users), device=self._device)
        num_tiles = len(batch.tile_users)
        tiles = tile_tensors(inputs, batch, num_tiles=num_tiles, device=self._device)
        places = torch.from_numpy(batch.positions).to(self._device)
        logits = self._network(users, tiles).reshape(num_tiles * TILE_WIDTH, -1)[places]  # (C, 6)
        with torch.no_grad():
            signed = torch.tensor(self._head_weights, device=self._device)
            values: NDArray[np.float32] = (head_probabilities(logits) @ signed).cpu().numpy()
        return self._losses(lesson, logits), values

    def _losses(self, lesson: Lesson, logits: Tensor) -> _Losses:
        """Return the losses of logits (C, 6); see the module's docstring."""
        device = self._device
        targets = torch.from_numpy(lesson.targets).to(device)
        is_positive = torch.from_numpy(lesson.is_positive).to(device)
        users = torch.from_numpy(lesson.inputs.candidate_users.astype(np.int64)).to(device)
        starts = torch.from_numpy(lesson.inputs.splits[:-1]).to(device)
        choice, conditional = logits[:, 0], logits[:, 1:]
        # 1. Listwise, over (B, longest list) padded with -inf.
        gain = (conditional.detach().sigmoid() * self._positive_weights).sum(dim=1)
        log_values = nn.functional.logsigmoid(choice) + (gain + _TINY).log()
        longest = int(np.diff(lesson.inputs.splits).max())
        columns = torch.arange(len(choice), device=device) - starts[users]
        padded = torch.full((len(lesson), longest), -math.inf, device=device)
        padded = padded.index_put((users, columns), log_values)
        target_columns = (targets - starts)[:, None]
        likelihoods = padded.log_softmax(dim=1).gather(1, target_columns)[:, 0]
        listwise = -(likelihoods * is_positive).sum()
        # 2. Choice: level of the probabilities, over the lists of positive events.
        chosen = torch.zeros_like(choice).index_put((targets,), is_positive.float())
        levels = nn.functional.binary_cross_entropy_with_logits(choice, chosen, reduction="none")
        level = (levels * is_positive[users]).sum()
        # 3. Heads of the observed items.
        labels = torch.from_numpy(lesson.head_labels).to(device)
        is_taught = ~labels.isnan()
        crosses = nn.functional.binary_cross_entropy_with_logits(
            conditional[targets], labels.nan_to_num(), reduction="none"
        )
        heads = (crosses * is_taught).sum()
        return _Losses(
            total=listwise + self._choice_weight * level + self._heads_weight * heads,
            listwise=listwise / is_positive.sum(),
            heads=heads / is_taught.any(dim=1).sum(),
        )


@dataclass(frozen=True, slots=True)
class _Losses:
    """Scalars: the sum that is minimised, and two means for a person (NaN of nothing)."""

    total: Tensor
    listwise: Tensor
    heads: Tensor


def _rank(values: NDArray[np.float32], target: int) -> float:
    """Return 1 + better values + half the ties.

    >>> _rank(np.array([0.5, 0.9, 0.5], np.float32), 0)
    2.5
    """
    better = int(np.count_nonzero(values > values[target]))
    ties = int(np.count_nonzero(values == values[target])) - 1
    return 1.0 + better + ties / 2


def _check_labels(inputs: RankingInputs, labels: TrainingLabels) -> None:
    """Refuse labels of another length, or targets that are not the user's own candidate."""
    count = inputs.num_users
    for name in ("targets", "actions", "completions"):
        if len(getattr(labels, name)) != count:
            message = f"expected {count} {name}, got {len(getattr(labels, name))}"
            raise ValueError(message)
    has_target = labels.targets >= 0
    begins, ends = inputs.splits[:-1], inputs.splits[1:]
    is_own = (labels.targets >= begins) & (labels.targets < ends)
    if not is_own[has_target].all():
        user = int(np.flatnonzero(has_target & ~is_own)[0])
        message = (
            f"expected user {user}'s target in [{begins[user]}, {ends[user]}), "
            f"got {labels.targets[user]}; targets index all candidates, not the user's own"
        )
        raise ValueError(message)
