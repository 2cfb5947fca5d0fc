"""What a ranker takes and gives: RankingInputs, RankerScores and the Ranker protocol.

Bare arrays only: rankers know neither catalogue rows nor ids. Every column of a candidate depends
on that candidate and on its user alone (never on the other candidates), so that a ranker which
reads only them keeps law 5: a score is a score, in any batch, in any order.

Axis letters: B users, L history, C candidates in all, D embedding, S sources, P popularity
half-lives, T transitions, A affinities, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

# Columns of ``candidate_action_rates``: watch, like, comment, share, not interested.
NUM_RATES = 5
# Columns of ``candidate_transitions``.
NUM_TRANSITIONS = 3
# Value of the ``*_ages_ms`` columns where there is nothing that could have an age.
NO_AGE_MS = -1

_USER_FIELDS = (
    "now_ms",
    "num_events",
    "history_lengths",
    "history_present",
    "history_embeddings",
    "history_ages_ms",
    "history_strengths",
    "history_actions",
    "history_completions",
    "session_vectors",
    "long_vectors",
    "affinity_weights",
    "source_maxima",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingInputs:
    """Everything a ranker may want of B users and their C candidates; copies, never views.

    History is ordered oldest first, newest last; user b's entries are
    ``[0, history_lengths[b])``, the rest is zero.

    Attributes:
        splits: int64 (B + 1,); user b's candidates are ``[splits[b], splits[b + 1])``.
        now_ms: int64 (B,), event time at which the list is made.
        num_events: int64 (B,), events applied for the user so far.
        history_lengths: int32 (B,).
        history_present: bool (B, L), the entry exists and its item is still in the catalogue;
            false entries have a zero embedding and must be masked.
        history_embeddings: float32 (B, L, D), unit norm.
        history_ages_ms: int64 (B, L), now - time, >= 0; ``NO_AGE_MS`` beyond the length.
        history_strengths: uint8 (B, L), maximum over the actions on that item.
        history_actions: uint16 (B, L), bit ``1 << action`` per action seen.
        history_completions: uint8 (B, L), largest watched share, 255 = whole.
        session_vectors: float32 (B, D), decayed sums of embeddings, not normalised.
        long_vectors: float32 (B, D), decayed sums of embeddings, not normalised.
        affinity_weights: float32 (B, A), decayed; 0 empty.
        source_maxima: float32 (B, S), the best score that each source gave the user; 0 without.
        candidate_users: int32 (C,), index of the candidate's user in ``[0, B)``, ascending.
        candidate_embeddings: float32 (C, D), unit norm.
        candidate_popularity_logs: float32 (C, P), ``log(1 + popularity)`` decayed to now, one
            column per half-life, shortest first.
        candidate_ages_ms: int64 (C,), now - created, >= 0 (first seen where unannounced).
        candidate_durations_ms: int32 (C,); 0 unknown.
        candidate_action_rates: float32 (C, 5), decayed counts per action over all of them plus
            one (watch, like, comment, share, not interested).
        candidate_author_affinities: float32 (C,), share of the user's affinity weight on the
            candidate's author, [0, 1].
        candidate_tag_affinities: float32 (C,), the same over its tags and category, [0, 1].
        candidate_transitions: float32 (C, 3): raw transition probability
            ``out[h, candidate] / (out_sum_h + 2)`` from the newest and the second newest present
            history item, and from the candidate to the newest
            (``in[h, candidate] / (in_sum_h + 2)``).
        candidate_history_ages_ms: int64 (C,), now - time of the user's own history entry on that
            item; ``NO_AGE_MS`` where the item is not in the history.
        candidate_history_actions: uint16 (C,), that entry's action bits; 0 without.
        candidate_history_places: int32 (C,), 0 = newest entry; -1 without.
        source_scores: float32 (C, S), what each source gave; 0 where it did not propose.
        source_ranks: uint16 (C, S), 1 = the source's best; 0 where it did not propose.
        is_seen: bool (C,), the user consumed the item before.
    """

    splits: NDArray[np.int64]
    now_ms: NDArray[np.int64]
    num_events: NDArray[np.int64]
    history_lengths: NDArray[np.int32]
    history_present: NDArray[np.bool_]
    history_embeddings: NDArray[np.float32]
    history_ages_ms: NDArray[np.int64]
    history_strengths: NDArray[np.uint8]
    history_actions: NDArray[np.uint16]
    history_completions: NDArray[np.uint8]
    session_vectors: NDArray[np.float32]
    long_vectors: NDArray[np.float32]
    affinity_weights: NDArray[np.float32]
    source_maxima: NDArray[np.float32]
    candidate_users: NDArray[np.int32]
    candidate_embeddings: NDArray[np.float32]
    candidate_popularity_logs: NDArray[np.float32]
    candidate_ages_ms: NDArray[np.int64]
    candidate_durations_ms: NDArray[np.int32]
    candidate_action_rates: NDArray[np.float32]
    candidate_author_affinities: NDArray[np.float32]
    candidate_tag_affinities: NDArray[np.float32]
    candidate_transitions: NDArray[np.float32]
    candidate_history_ages_ms: NDArray[np.int64]
    candidate_history_actions: NDArray[np.uint16]
    candidate_history_places: NDArray[np.int32]
    source_scores: NDArray[np.float32]
    source_ranks: NDArray[np.uint16]
    is_seen: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return C, the number of candidates."""
        return len(self.candidate_users)

    @property
    def num_users(self) -> int:
        """B, the number of users."""
        return len(self.now_ms)

    def take(self, candidates: NDArray[np.int64]) -> RankingInputs:
        """Return the inputs of some candidates, all users kept (training, tests, explain).

        Args:
            candidates: int64 (n,), indices into C, ascending.
        """
        users = self.candidate_users[candidates]
        splits = np.searchsorted(users, np.arange(self.num_users + 1)).astype(np.int64)
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in columns:
            if name not in _USER_FIELDS and name != "splits":
                columns[name] = columns[name][candidates]
        columns["splits"] = splits
        return RankingInputs(**columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerScores:
    """What a ranker thinks of C candidates.

    Attributes:
        values: float32 (C,), higher is better; comparable within one user only.
        heads: float32 (C, H), probability per action head; H = 0 for fusion.
    """

    values: NDArray[np.float32]
    heads: NDArray[np.float32]


class Ranker(Protocol):
    """Scores candidates. Called by the scorer thread with copied inputs; must not keep them."""

    @property
    def name(self) -> str:
        """Name that every list carries: ``fusion`` or ``network-<hash>``."""
        ...

    @property
    def sequence(self) -> int:
        """Number of the weights, growing by one with every swap; part of a list's version."""
        ...

    def score(self, inputs: RankingInputs) -> RankerScores:
        """Score every candidate; a candidate's score never depends on its companions."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTerms:
    """One candidate's score as a sum, for a person: ``value = sum(factors * weights)``.

    Attributes:
        names: Head of each term; empty where term s belongs to source s.
        factors: float64 (n,), probability of each head, or ``1 / (k + rank)`` of each source.
        weights: float64 (n,), what each factor is worth.
    """

    names: tuple[str, ...]
    factors: NDArray[np.float64]
    weights: NDArray[np.float64]


@runtime_checkable
class ExplainsScores(Protocol):
    """A ranker that can take one score apart (``explain``)."""

    def terms(self, inputs: RankingInputs, scores: RankerScores, candidate: int) -> ScoreTerms:
        """Return the terms of the score that this ranker gave to a candidate (index into C)."""
        ...
