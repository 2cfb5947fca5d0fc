"""Gather what a ranker may want: from users, candidates and catalogue to bare arrays.

Runs on the state thread right after retrieval: everything is copied, so that the scorer thread
sees one consistent moment. Notable: the transition and history columns are found with one scratch
pass per user, not by searching neighbour lists per candidate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.ranking import NO_AGE_MS, NUM_RATES, NUM_TRANSITIONS, RankingInputs
from stream.ranking_columns import (
    fill_affinities,
    fill_counts,
    fill_history,
    fill_maxima,
    fill_own,
    fill_transitions,
    popularity_logs,
)

if TYPE_CHECKING:
    from state.catalogue import Catalogue
    from stream.candidates import CandidateBatch, UserBatch


class _History(NamedTuple):
    """Columns (B, L) that need the catalogue or the time of the list."""

    present: NDArray[np.bool_]
    embeddings: NDArray[np.float32]
    ages_ms: NDArray[np.int64]


class _Own(NamedTuple):
    """Columns (C,) of the user's own history entry on the candidate."""

    places: NDArray[np.int32]
    ages_ms: NDArray[np.int64]
    actions: NDArray[np.uint16]


class _Counts(NamedTuple):
    """Columns (C, ...) of what all users did with the candidate."""

    popularity_logs: NDArray[np.float32]
    ages_ms: NDArray[np.int64]
    rates: NDArray[np.float32]


class _Matches(NamedTuple):
    """Columns (C, ...) of how the candidate fits the user."""

    users: NDArray[np.int32]
    source_maxima: NDArray[np.float32]
    authors: NDArray[np.float32]
    tags: NDArray[np.float32]


def gather(users: UserBatch, candidates: CandidateBatch, catalogue: Catalogue) -> RankingInputs:
    """Copy everything a ranker may want of these users and candidates.

    Args:
        users: B users, as retrieval saw them.
        candidates: Their C candidates.
        catalogue: The catalogue of the same moment (same epoch as the users' rows).

    Returns:
        Inputs that share no memory with the catalogue's tables.
    """
    history = _history(users, catalogue)
    own = _own(users, candidates, catalogue, history)
    counts = _counts(users, candidates, catalogue)
    matches = _matches(users, candidates, catalogue)
    return RankingInputs(
        splits=candidates.splits.copy(),
        now_ms=users.now_ms.copy(),
        num_events=users.num_events.copy(),
        history_lengths=users.history_lengths.copy(),
        history_present=history.present,
        history_embeddings=history.embeddings,
        history_ages_ms=history.ages_ms,
        history_strengths=users.history_strengths.copy(),
        history_actions=users.history_actions.copy(),
        history_completions=users.history_completions.copy(),
        session_vectors=users.session_vectors.copy(),
        long_vectors=users.long_vectors.copy(),
        affinity_weights=users.affinity_weights.copy(),
        source_maxima=matches.source_maxima,
        candidate_users=matches.users,
        candidate_embeddings=catalogue.embeddings[candidates.item_rows],
        candidate_popularity_logs=counts.popularity_logs,
        candidate_ages_ms=counts.ages_ms,
        candidate_durations_ms=catalogue.duration_ms[candidates.item_rows],
        candidate_action_rates=counts.rates,
        candidate_author_affinities=matches.authors,
        candidate_tag_affinities=matches.tags,
        candidate_transitions=_transitions(users, candidates, catalogue),
        candidate_history_ages_ms=own.ages_ms,
        candidate_history_actions=own.actions,
        candidate_history_places=own.places,
        source_scores=candidates.scores.copy(),
        source_ranks=candidates.ranks.copy(),
        is_seen=candidates.is_seen.copy(),
    )


def _history(users: UserBatch, catalogue: Catalogue) -> _History:
    num_users, max_history = users.history_rows.shape
    dim = catalogue.embeddings.shape[1]
    history = _History(
        present=np.zeros((num_users, max_history), np.bool_),
        embeddings=np.zeros((num_users, max_history, dim), np.float32),
        ages_ms=np.empty((num_users, max_history), np.int64),
    )
    fill_history(
        users.history_rows,
        users.history_lengths,
        users.history_times_ms,
        users.now_ms,
        catalogue.embeddings,
        history.present,
        history.embeddings,
        history.ages_ms,
    )
    return history


def _own(
    users: UserBatch, candidates: CandidateBatch, catalogue: Catalogue, history: _History
) -> _Own:
    own = _Own(
        places=np.full(len(candidates), -1, np.int32),
        ages_ms=np.full(len(candidates), NO_AGE_MS, np.int64),
        actions=np.zeros(len(candidates), np.uint16),
    )
    fill_own(
        candidates.splits,
        candidates.item_rows,
        users.history_rows,
        users.history_lengths,
        history.ages_ms,
        users.history_actions,
        np.zeros(len(catalogue.is_live), np.int32),
        own.places,
        own.ages_ms,
        own.actions,
    )
    return own


def _counts(users: UserBatch, candidates: CandidateBatch, catalogue: Catalogue) -> _Counts:
    half_lives_ms = np.asarray(catalogue.limits.half_lives_ms, np.float64)
    values = np.empty((len(candidates), len(half_lives_ms)), np.float32)
    exponents = np.empty_like(values)
    ages_ms = np.empty(len(candidates), np.int64)
    rates = np.empty((len(candidates), NUM_RATES), np.float32)
    fill_counts(
        candidates.splits,
        candidates.item_rows,
        users.now_ms,
        catalogue.popularity,
        catalogue.popularity_time_ms,
        half_lives_ms,
        catalogue.created_at_ms,
        catalogue.action_counts,
        values,
        exponents,
        ages_ms,
        rates,
    )
    return _Counts(popularity_logs=popularity_logs(values, exponents), ages_ms=ages_ms, rates=rates)


def _matches(users: UserBatch, candidates: CandidateBatch, catalogue: Catalogue) -> _Matches:
    matches = _Matches(
        users=np.zeros(len(candidates), np.int32),
        source_maxima=np.zeros((len(users), candidates.scores.shape[1]), np.float32),
        authors=np.zeros(len(candidates), np.float32),
        tags=np.zeros(len(candidates), np.float32),
    )
    fill_maxima(candidates.splits, candidates.scores, matches.users, matches.source_maxima)
    fill_affinities(
        candidates.splits,
        candidates.item_rows,
        users.affinity_keys,
        users.affinity_weights,
        catalogue.author_keys,
        catalogue.category_keys,
        catalogue.tag_keys,
        matches.authors,
        matches.tags,
    )
    return matches


def _transitions(
    users: UserBatch, candidates: CandidateBatch, catalogue: Catalogue
) -> NDArray[np.float32]:
    transitions = np.zeros((len(candidates), NUM_TRANSITIONS), np.float32)
    fill_transitions(
        candidates.splits,
        candidates.item_rows,
        users.history_rows,
        users.history_lengths,
        catalogue.neighbour_rows,
        catalogue.neighbour_out,
        catalogue.neighbour_in,
        catalogue.out_sums,
        catalogue.in_sums,
        np.zeros((len(catalogue.is_live), NUM_TRANSITIONS), np.float32),
        transitions,
    )
    return transitions
