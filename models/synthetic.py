"""Seeded ranking inputs without an engine: for tests, benchmarks and the GPU check.

:func:`random_inputs` fills every column with plausible numbers; :func:`planted_inputs` hides one
rule in them that a network can learn and fusion cannot: the next item is the one that resembles
the user's newest history entry.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.ranking import NO_AGE_MS, RankingInputs

NUM_SOURCES = 7
NUM_HALF_LIVES = 5
_DAY_MS = 86_400_000


def _unit_vectors(random: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    vectors = random.standard_normal(shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True) + np.float32(1e-9)
    return vectors


def _history(
    random: np.random.Generator, lengths: NDArray[np.int64], max_history: int, dim: int
) -> dict[str, Any]:
    """Draw the user columns that describe histories."""
    shape = (len(lengths), max_history)
    exists = np.arange(max_history) < lengths[:, None]
    present = exists & (random.random(shape) < 0.95)
    ages_ms = -np.sort(-random.integers(0, 7 * _DAY_MS, shape), axis=1)
    embeddings = _unit_vectors(random, *shape, dim) * present[:, :, None].astype(np.float32)
    return {
        "history_lengths": lengths.astype(np.int32),
        "history_present": present,
        "history_embeddings": embeddings,
        "history_ages_ms": np.where(exists, ages_ms, NO_AGE_MS),
        "history_strengths": (random.integers(0, 4, shape) * exists).astype(np.uint8),
        "history_actions": (random.integers(0, 64, shape) * exists).astype(np.uint16),
        "history_completions": (random.integers(0, 256, shape) * exists).astype(np.uint8),
    }


def _sources(
    random: np.random.Generator, users: NDArray[np.int32], num_users: int
) -> dict[str, Any]:
    """Draw scores and the ranks that follow from them."""
    shape = (len(users), NUM_SOURCES)
    is_proposed = random.random(shape) < 0.4
    scores = np.where(is_proposed, random.gamma(1.0, 0.2, shape), 0.0).astype(np.float32)
    ranks = np.zeros(shape, np.uint16)
    maxima = np.zeros((num_users, NUM_SOURCES), np.float32)
    for user in range(num_users):
        mine = np.flatnonzero(users == user)
        if len(mine) > 0:
            order = np.argsort(np.argsort(-scores[mine], axis=0, kind="stable"), axis=0)
            ranks[mine] = (order + 1) * is_proposed[mine]
            maxima[user] = scores[mine].max(axis=0)
    return {"source_scores": scores, "source_ranks": ranks, "source_maxima": maxima}


def random_inputs(
    *,
    num_candidates: tuple[int, ...],
    max_history: int = 50,
    dim: int = 64,
    seed: int = 0,
) -> RankingInputs:
    """Draw inputs for ``len(num_candidates)`` users.

    Args:
        num_candidates: Candidates of each user; zero is allowed.
        max_history: L; the lengths vary from 0 to L.
        dim: D.
        seed: Same seed, same inputs.
    """
    random = np.random.default_rng(seed)
    num_users = len(num_candidates)
    splits = np.concatenate(([0], np.cumsum(num_candidates))).astype(np.int64)
    count = int(splits[-1])
    users = np.repeat(np.arange(num_users), num_candidates).astype(np.int32)
    places = random.integers(-3 * max_history - 1, max(max_history, 1), count)
    is_own = places >= 0
    own_ages_ms = random.integers(0, 7 * _DAY_MS, count)
    transitions = random.random((count, 3)) * (random.random((count, 3)) < 0.2)
    return RankingInputs(
        splits=splits,
        now_ms=np.full(num_users, 1_700_000_000_000, np.int64),
        num_events=random.integers(0, 1000, num_users),
        session_vectors=random.standard_normal((num_users, dim)).astype(np.float32),
        long_vectors=random.standard_normal((num_users, dim)).astype(np.float32),
        affinity_weights=random.random((num_users, 16)).astype(np.float32),
        candidate_users=users,
        candidate_embeddings=_unit_vectors(random, count, dim),
        candidate_popularity_logs=random.gamma(2.0, 1.0, (count, NUM_HALF_LIVES)).astype(
            np.float32
        ),
        candidate_ages_ms=random.integers(0, 30 * _DAY_MS, count),
        candidate_durations_ms=random.integers(0, 60_000, count).astype(np.int32),
        candidate_action_rates=random.random((count, 5)).astype(np.float32),
        candidate_author_affinities=random.random(count).astype(np.float32),
        candidate_tag_affinities=random.random(count).astype(np.float32),
        candidate_transitions=transitions.astype(np.float32),
        candidate_history_ages_ms=np.where(is_own, own_ages_ms, NO_AGE_MS),
        candidate_history_actions=(random.integers(0, 64, count) * is_own).astype(np.uint16),
        candidate_history_places=np.maximum(places, -1).astype(np.int32),
        is_seen=is_own | (random.random(count) < 0.1),
        **_history(random, random.integers(0, max_history + 1, num_users), max_history, dim),
        **_sources(random, users, num_users),
    )


def planted_inputs(
    *, num_users: int, candidates_each: int, dim: int = 64, seed: int = 0
) -> tuple[RankingInputs, NDArray[np.int64]]:
    """Draw inputs in which one candidate of each user resembles the newest history entry.

    Returns:
        Inputs, and int64 (B,) the index in C of each user's next item.
    """
    inputs = random_inputs(num_candidates=(candidates_each,) * num_users, dim=dim, seed=seed)
    random = np.random.default_rng(seed + 1)
    embeddings = inputs.candidate_embeddings.copy()
    history = inputs.history_embeddings.copy()
    present = inputs.history_present.copy()
    lengths = np.maximum(inputs.history_lengths, 1)
    targets = inputs.splits[:-1] + random.integers(0, candidates_each, num_users)
    newest = (np.arange(num_users), lengths - 1)
    history[newest] = _unit_vectors(random, num_users, dim)
    present[newest] = True
    noise = np.float32(0.3) * _unit_vectors(random, num_users, dim)
    embeddings[targets] = history[newest] + noise
    embeddings[targets] /= np.linalg.norm(embeddings[targets], axis=1, keepdims=True)
    planted = replace(
        inputs,
        candidate_embeddings=embeddings,
        history_embeddings=history,
        history_present=present,
        history_lengths=lengths.astype(np.int32),
    )
    return planted, targets
