"""The multi-action ranking network: target attention over the history, context, one small MLP.

For user u and candidate c (A = attention width, D = embedding, F = candidate features):

1. history entry h → key, value (A) and a bias, from its embedding and what was done with it;
2. candidate → query and representation (A) from its embedding;
3. attention of the candidate over the user's entries, plus one empty slot of logit 0 and value 0:
   a candidate that resembles nothing (or a user without history) attends to nothing;
4. [features, cosines with the interest vectors, candidate, attended, product] + user features
   → MLP; beside it a linear ("wide") path from the features, which starts as reciprocal-rank
   fusion, so that an untrained network ranks as fusion does;
5. six outputs: choice r, and one logit per head.

``P(a) = sigmoid(r) · sigmoid(z_a)``: the probability that the user's next action is on this
candidate, times that it is a (for completion: the expected watched share). The value is
``Σ w_a P(a)`` with signed weights.

Sources: Zhou et al. 2018, "Deep Interest Network for Click-Through Rate Prediction",
https://arxiv.org/abs/1706.06978 (target attention; ours is a scaled dot product with an empty
slot); Cheng et al. 2016, "Wide & Deep Learning", https://arxiv.org/abs/1606.07792; Ma et al. 2018,
"Entire Space Multi-Task Model", https://arxiv.org/abs/1804.07931 (the product of choice and
conditional action).

Absent: dropout, batch norm, ids. A candidate's output never depends on its companions (law 5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.features import (
    NUM_HISTORY_FEATURES,
    feature_names,
    num_candidate_features,
    num_user_features,
)

# Heads, in the order of every (C, H) array.
HEADS = ("completion", "like", "comment", "share", "not_interested")
# What an action is worth, signed, in the order of HEADS; a setting of the worker.
DEFAULT_HEAD_WEIGHTS = (1.0, 2.0, 3.0, 3.0, -4.0)
# An untrained network thinks: one of about fifty candidates is next, likes are one of eight.
_INITIAL_BIASES = (-4.0, 0.0, -2.0, -4.0, -4.0, -4.0)
# Context columns that the network computes: two cosines with the interest vectors, the best match
# within the history, and the match with what was attended.
_NUM_MATCHES = 4
# Weight of each source's reciprocal-rank column at the start.
_FUSION_PRIOR = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Everything that fixes the shapes of the network; goes into the manifest.

    Attributes:
        dim: D, width of the item embeddings.
        num_sources: S, candidate sources.
        num_half_lives: P, popularity half-lives.
        attention_dim: A, width of keys, values and candidate representation.
        hidden_dim: Width of the first hidden layer.
        second_dim: Width of the second hidden layer.
    """

    dim: int = 64
    num_sources: int = 7
    num_half_lives: int = 5
    attention_dim: int = 32
    hidden_dim: int = 64
    second_dim: int = 32

    def __post_init__(self) -> None:
        """Refuse sizes that are not positive or absurd (a broken manifest)."""
        for name in self.__slots__:
            size = getattr(self, name)
            if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 4096:
                message = f"expected {name} to be a whole number from 1 to 4096, got {size!r}"
                raise ValueError(message)

    @property
    def num_features(self) -> int:
        """F, columns per candidate."""
        return num_candidate_features(
            num_sources=self.num_sources, num_half_lives=self.num_half_lives
        )

    @property
    def num_user_features(self) -> int:
        """Columns per user."""
        return num_user_features(num_sources=self.num_sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTensors:
    """Users of one micro-batch, padded to U users.

    Attributes:
        history: float32 (U, L, D + 13), embedding and features of each entry.
        is_present: bool (U, L), false where masked.
        vectors: float32 (U, D, 2), session and long interest vector, unit norm or zero.
        features: float32 (U, 6 + S).
    """

    history: Tensor
    is_present: Tensor
    vectors: Tensor
    features: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TileTensors:
    """Candidates of one micro-batch in T tiles of W; a tile holds candidates of one user.

    Attributes:
        users: int64 (T,), the tile's user in UserTensors.
        embeddings: float32 (T, W, D).
        features: float32 (T, W, F).
    """

    users: Tensor
    embeddings: Tensor
    features: Tensor


def _linear(num_inputs: int, num_outputs: int, *, bias: bool = True) -> nn.Linear:
    """Make a layer without drawing from torch's global generator; ``_initialise`` fills it."""
    layer = nn.Linear(num_inputs, num_outputs, bias=bias, device="meta")
    return layer.to_empty(device="cpu")


class RankingNetwork(nn.Module):
    """See the module's docstring. ``forward`` gives choice and head logits per candidate."""

    def __init__(self, config: NetworkConfig, *, seed: int = 0) -> None:
        """Make a network with seeded parameters; touches no global generator.

        Args:
            config: Shapes.
            seed: Same seed, same parameters, on every machine.
        """
        super().__init__()
        self.config = config
        width, outputs = config.attention_dim, 1 + len(HEADS)
        num_context = config.num_features + _NUM_MATCHES
        num_inputs = num_context + 3 * width
        self.history = _linear(config.dim + NUM_HISTORY_FEATURES, 2 * width + 1)
        self.candidate = _linear(config.dim, 2 * width)
        self.hidden = _linear(num_inputs, config.hidden_dim)
        self.user = _linear(config.num_user_features, config.hidden_dim, bias=False)
        self.second = _linear(config.hidden_dim, config.second_dim)
        self.output = _linear(config.second_dim, outputs)
        self.wide = _linear(num_context, outputs, bias=False)
        self._initialise(np.random.default_rng(seed))

    def _initialise(self, random: np.random.Generator) -> None:
        """Draw He-scaled weights; similarity and fusion are there from the start.

        Keys and queries start as one projection of the embedding, values and candidates as
        another: attention begins as a cosine, and its product with the candidate as a match. The
        wide path starts as reciprocal-rank fusion.
        """
        config = self.config
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                values = np.zeros(parameter.shape, np.float32)
                if name.endswith("weight") and not name.startswith("wide"):
                    scale = 0.01 if name.startswith("output") else math.sqrt(2 / values.shape[1])
                    values[:] = random.standard_normal(values.shape) * scale
                parameter.copy_(torch.from_numpy(values))
            # Embeddings have unit norm: a scale of 1 gives components of about 1.
            shared = random.standard_normal((2 * config.attention_dim, config.dim))
            projection = torch.from_numpy(shared.astype(np.float32))
            self.candidate.weight.copy_(projection)
            self.history.weight[:-1, : config.dim] = projection
            self.output.bias.copy_(torch.tensor(_INITIAL_BIASES))
            names = feature_names(
                num_sources=config.num_sources, num_half_lives=config.num_half_lives
            )
            for column, name in enumerate(names):
                if name.endswith("_fusion"):
                    self.wide.weight[0, column] = _FUSION_PRIOR

    def forward(self, users: UserTensors, tiles: TileTensors) -> Tensor:
        """Return the logits of every place of every tile, padding included.

        Returns:
            float32 (T, W, 6): choice, then HEADS.
        """
        # 1. History.
        width = self.config.attention_dim
        entries = self.history(users.history)  # (U, L, 2A + 1)
        biases = entries[:, :, -1].masked_fill(~users.is_present, -math.inf)
        keys = nn.functional.pad(entries[:, :, :width], (0, 0, 0, 1))  # (U, L + 1, A)
        values = nn.functional.pad(entries[:, :, width:-1], (0, 0, 0, 1))
        biases = nn.functional.pad(biases, (0, 1))[:, None, :]  # (U, 1, L + 1)
        # 2. Candidates.
        queries, candidates = self.candidate(tiles.embeddings).split(width, dim=-1)  # (T, W, A)
        # 3. Attention, user by tile.
        similarities = torch.baddbmm(
            biases[tiles.users],
            queries,
            keys[tiles.users].transpose(1, 2),
            alpha=1 / math.sqrt(width),
        )  # (T, W, L + 1)
        attended = torch.bmm(similarities.softmax(dim=-1), values[tiles.users])  # (T, W, A)
        # 4. MLP and wide path.
        cosines = torch.bmm(tiles.embeddings, users.vectors[tiles.users])  # (T, W, 2)
        best = similarities.amax(dim=-1, keepdim=True)
        products = candidates * attended
        match = products.mean(dim=-1, keepdim=True)
        parts = (tiles.features, cosines, best, match, candidates, attended, products)
        inputs = torch.cat(parts, dim=-1)
        # One copy is enough: the wide path reads the first columns of the same memory.
        context = inputs.flatten(0, 1)[:, : self.wide.in_features]
        hidden = self.hidden(inputs) + self.user(users.features)[tiles.users][:, None, :]
        hidden = self.second(hidden.relu_()).relu_()
        # 5. Outputs.
        logits: Tensor = self.output(hidden)
        wide: Tensor = self.wide(context)
        return logits + wide.reshape(logits.shape)


def head_probabilities(logits: Tensor) -> Tensor:
    """Turn logits (..., 6) into probabilities (..., 5): ``sigmoid(r) · sigmoid(z_a)``."""
    probabilities = logits.sigmoid()
    return probabilities[..., :1] * probabilities[..., 1:]


def num_parameters(config: NetworkConfig) -> int:
    """Count the parameters.

    >>> num_parameters(NetworkConfig()) < 100_000
    True
    """
    return sum(parameter.numel() for parameter in RankingNetwork(config).parameters())
