"""TorchScorer: the network as a Ranker, in micro-batches on the CPU or one CUDA device.

Weights are one immutable object behind one reference: ``swap`` replaces the reference, a call of
``score`` reads it once, so that all lists of a call come from the same weights and say which.
What comes out is checked; the network's own trouble becomes :class:`ScoringFailed`, upon which
the caller ranks with fusion and counts it. Absent: threads (one scorer thread calls ``score``;
``swap`` may come from any), clocks, files.
"""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import ScoringFailed
from models.network import HEADS, RankingNetwork, head_probabilities
from models.ranking import RankerScores, RankingInputs, ScoreTerms
from models.tiles import TILE_WIDTH, MicroBatch, bucket, micro_batches, tile_tensors, user_tensors
from models.weights import NetworkWeights, check_head_weights

# Tiles of 64 candidates per micro-batch: what fits the second-level cache of a core, and what
# keeps a GPU busy. Measured by benchmarks/bench_network.py and check_gpu.py.
CPU_MAX_TILES = 64
CUDA_MAX_TILES = 1024


def pick_device(device: str) -> torch.device:
    """Turn ``auto`` into CUDA where there is one, else the CPU; other names as torch reads them."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


class LoadedNetwork:
    """One network on one device: a Ranker whose weights and name never change."""

    def __init__(
        self,
        network: RankingNetwork,
        *,
        name: str,
        sequence: int,
        head_weights: tuple[float, ...],
        device: torch.device,
        max_tiles: int,
    ) -> None:
        """Move the network to the device.

        Args:
            network: Used as it is, not copied.
            name: What the lists carry.
            sequence: Number of the weights.
            head_weights: One signed weight per head.
            device: Where to score.
            max_tiles: Bound of a micro-batch.
        """
        check_head_weights(head_weights)
        self.name = name
        self.sequence = sequence
        self._network = network.to(device)
        self._head_weights = np.asarray(head_weights, np.float32)
        self._device = device
        self._max_tiles = max_tiles

    def score(self, inputs: RankingInputs) -> RankerScores:
        """Score every candidate.

        Returns:
            values float32 (C,) = heads @ head weights; heads float32 (C, 5) in order of ``HEADS``.

        Raises:
            ScoringFailed: The network raised or gave a number that is not finite.
        """
        heads = np.empty((len(inputs), len(HEADS)), np.float32)
        try:
            self._check_shapes(inputs)
            with torch.inference_mode():
                for batch in micro_batches(inputs.splits, max_tiles=self._max_tiles):
                    heads[batch.begin : batch.end] = self._score_batch(inputs, batch)
        except ScoringFailed:
            raise
        except Exception as error:
            message = f"expected scores from {self.name}, it raised {type(error).__name__}: {error}"
            raise ScoringFailed(message) from error
        # Head by head, so that the sum of one row never depends on the number of rows.
        values = np.zeros(len(inputs), np.float32)
        for head, weight in enumerate(self._head_weights):
            values += weight * heads[:, head]
        if not np.isfinite(values).all():
            bad = int(np.count_nonzero(~np.isfinite(values)))
            message = f"expected finite scores from {self.name}, got {bad} of {len(values)} not"
            raise ScoringFailed(message)
        return RankerScores(values=values, heads=heads)

    def terms(self, inputs: RankingInputs, scores: RankerScores, candidate: int) -> ScoreTerms:
        """Take one of this network's scores apart: a term ``P x w`` per head."""
        return ScoreTerms(
            names=HEADS,
            factors=scores.heads[candidate].astype(np.float64),
            weights=self._head_weights.astype(np.float64),
        )

    def _score_batch(self, inputs: RankingInputs, batch: MicroBatch) -> NDArray[np.float32]:
        """Return float32 (n, 5) of one micro-batch."""
        num_tiles = bucket(len(batch.tile_users), self._max_tiles)
        num_users = bucket(len(batch.users), self._max_tiles)
        users = user_tensors(inputs, batch, num_users=num_users, device=self._device)
        tiles = tile_tensors(inputs, batch, num_tiles=num_tiles, device=self._device)
        heads = head_probabilities(self._network(users, tiles))
        flat: NDArray[np.float32] = heads.reshape(num_tiles * TILE_WIDTH, -1).cpu().numpy()
        return flat[batch.positions]

    def _check_shapes(self, inputs: RankingInputs) -> None:
        """Refuse inputs of another world than the weights were trained in."""
        config = self._network.config
        expected = (config.dim, config.num_sources, config.num_half_lives)
        came = (
            inputs.candidate_embeddings.shape[1],
            inputs.source_scores.shape[1],
            inputs.candidate_popularity_logs.shape[1],
        )
        if came != expected:
            message = (
                f"expected inputs of (dim, sources, half-lives) {expected} for {self.name}, "
                f"got {came}; train weights for these settings"
            )
            raise ScoringFailed(message)


class TorchScorer:
    """A Ranker with weights that can be swapped while it scores."""

    def __init__(
        self,
        weights: NetworkWeights,
        *,
        device: str = "auto",
        max_tiles: int | None = None,
        head_weights: tuple[float, ...] | None = None,
        sequence: int = 1,
    ) -> None:
        """Load the first weights.

        Args:
            weights: Verified weights.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.
            max_tiles: Bound of a micro-batch in tiles of 64 candidates; None fits the device.
            head_weights: Signed weight per head; None takes those of the weights.
            sequence: Number of the first weights.

        Raises:
            WeightsInvalid: The head weights cannot be used.
        """
        self._device = pick_device(device)
        default_tiles = CUDA_MAX_TILES if self._device.type == "cuda" else CPU_MAX_TILES
        self._max_tiles = default_tiles if max_tiles is None else max_tiles
        if self._max_tiles < 1:
            message = f"expected max_tiles of at least 1, got {max_tiles}"
            raise ValueError(message)
        self._head_weights = head_weights
        self._swap_lock = threading.Lock()
        self._current = self._load(weights, sequence)

    @property
    def name(self) -> str:
        """``network-<hash>`` of the current weights."""
        return self._current.name

    @property
    def sequence(self) -> int:
        """Number of the current weights."""
        return self._current.sequence

    @property
    def device(self) -> torch.device:
        """Where scoring happens."""
        return self._device

    def current(self) -> LoadedNetwork:
        """Return the current weights as a Ranker of their own: name, sequence, scores agree."""
        return self._current

    def score(self, inputs: RankingInputs) -> RankerScores:
        """Score with the weights that are current now, as :meth:`LoadedNetwork.score`."""
        return self._current.score(inputs)

    def swap(self, weights: NetworkWeights, sequence: int | None = None) -> None:
        """Replace the weights; a call of ``score`` in flight finishes with the old ones.

        Args:
            weights: Verified weights.
            sequence: Their number, which never falls here: a lower one becomes the current one.
                None takes the next.

        Raises:
            WeightsInvalid: They were made for other shapes; the old ones stay.
        """
        with self._swap_lock:
            current = self._current.sequence
            number = current + 1 if sequence is None else max(sequence, current)
            self._current = self._load(weights, number)

    def _load(self, weights: NetworkWeights, sequence: int) -> LoadedNetwork:
        head_weights = self._head_weights
        return LoadedNetwork(
            weights.to_network().eval(),
            name=weights.name(),
            sequence=sequence,
            head_weights=weights.head_weights if head_weights is None else head_weights,
            device=self._device,
            max_tiles=self._max_tiles,
        )
