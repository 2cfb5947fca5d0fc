"""Features of the network, from RankingInputs: float32 columns, each roughly within [-1, 2].

Every column of a candidate depends on the candidate and its user alone, never on the other
candidates (law 5): a source's score is divided by the user's ``source_maxima``, which travel with
the inputs. The order of the columns is a contract with the trained weights: change it only
together with :data:`FEATURE_VERSION`. Absent: torch, and any state (no running normalisers; the
scales are fixed, so that a feature means the same in training and in serving).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.ranking import NUM_RATES, NUM_TRANSITIONS, RankingInputs

# Grows with every change of a column's meaning or place; weights of another version are refused.
FEATURE_VERSION = 1

# Action bits 0..5 are read (watch .. follow); unlike and erase leave no bit.
_ACTIONS = ("watch", "like", "comment", "share", "not_interested", "follow")
_TRANSITIONS = ("newest", "second_newest", "back")
_SOURCE_COLUMNS = ("score_share", "score_log", "reciprocal", "fusion")
# Decay times of "how long ago" columns, in seconds: minutes, hours, days.
_OWN_DECAYS_S = (300.0, 3_600.0, 86_400.0)
_AGE_DECAYS_S = (3_600.0, 86_400.0, 604_800.0)
_HISTORY_DECAYS_S = (600.0, 21_600.0, 604_800.0)
# ln(1 + seconds) of about a month: brings the logarithm of an age to [0, 1].
_LOG_MONTH = np.float32(15.0)
# Scores below a thousandth of the user's best are worth the same as none.
_LOG_FLOOR = np.float32(1e-3)
# Transition probabilities below this are worth the same as none.
_TRANSITION_FLOOR = np.float32(1e-4)
# Rank constant of the reciprocal-rank column that carries the fusion prior.
_FUSION_RANK = np.float32(20.0)

# Columns per history entry, per user apart from its sources.
NUM_HISTORY_FEATURES = len(_ACTIONS) + 4 + len(_HISTORY_DECAYS_S)
_NUM_USER_FEATURES = 6


def feature_names(*, num_sources: int, num_half_lives: int) -> tuple[str, ...]:
    """Name the columns of :func:`candidate_features`, in order.

    >>> len(feature_names(num_sources=7, num_half_lives=5))
    66
    >>> feature_names(num_sources=1, num_half_lives=1)[:4]
    ('source_0_score_share', 'source_0_score_log', 'source_0_reciprocal', 'source_0_fusion')
    """
    names = [f"source_{s}_{column}" for s in range(num_sources) for column in _SOURCE_COLUMNS]
    names += ["sources_share", "is_seen", "own", "own_place", "own_age_log"]
    names += [f"own_within_{int(decay)}_s" for decay in _OWN_DECAYS_S]
    names += [f"own_{action}" for action in _ACTIONS]
    names += [f"popularity_{h}" for h in range(num_half_lives)]
    names += ["age_log", *(f"age_within_{int(decay)}_s" for decay in _AGE_DECAYS_S)]
    names += ["duration_known", "duration_log"]
    names += [f"rate_{action}" for action in _ACTIONS[:NUM_RATES]]
    names += ["author_affinity", "tag_affinity"]
    names += [f"transition_{name}" for name in _TRANSITIONS]
    names += [f"transition_{name}_log" for name in _TRANSITIONS]
    return tuple(names)


def num_candidate_features(*, num_sources: int, num_half_lives: int) -> int:
    """Return F, the width of :func:`candidate_features`."""
    return len(feature_names(num_sources=num_sources, num_half_lives=num_half_lives))


def num_user_features(*, num_sources: int) -> int:
    """Return the width of :func:`user_features`."""
    return _NUM_USER_FEATURES + num_sources


def _seconds(times_ms: NDArray[np.int64]) -> NDArray[np.float32]:
    """Turn ms into float32 seconds, negative (nothing there) into 0."""
    seconds = times_ms.astype(np.float32)
    np.maximum(seconds, 0.0, out=seconds)
    seconds *= np.float32(1e-3)
    return seconds


def _log1p(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ln(1 + x); ``np.log`` is vectorised where ``np.log1p`` is not (8 times faster)."""
    logs: NDArray[np.float32] = np.log(values + np.float32(1.0))
    return logs


def candidate_features(inputs: RankingInputs, begin: int, end: int) -> NDArray[np.float32]:
    """Return the features of candidates ``[begin, end)``.

    Returns:
        float32 (end - begin, F), columns as :func:`feature_names` says.
    """
    num_sources = inputs.source_scores.shape[1]
    num_half_lives = inputs.candidate_popularity_logs.shape[1]
    width = num_candidate_features(num_sources=num_sources, num_half_lives=num_half_lives)
    features = np.empty((end - begin, width), np.float32)
    stop = _fill_sources(inputs, begin, end, features)
    stop = _fill_own(inputs, begin, end, features, stop)
    stop = _fill_item(inputs, begin, end, features, stop)
    assert stop == width
    return features


def _fill_sources(
    inputs: RankingInputs, begin: int, end: int, features: NDArray[np.float32]
) -> int:
    """Fill the columns of the sources; return the next free column."""
    scores = inputs.source_scores[begin:end]
    ranks = inputs.source_ranks[begin:end].astype(np.float32)
    num_sources: int = scores.shape[1]
    stop = num_sources * len(_SOURCE_COLUMNS)
    maxima = np.maximum(inputs.source_maxima, np.float32(1e-20))
    shares = scores / maxima[inputs.candidate_users[begin:end]]  # (n, S)
    is_proposed = ranks > 0
    width = len(_SOURCE_COLUMNS)
    # A source may give negative scores (a dot product); their share says only "not good".
    np.clip(shares, -1.0, 1.0, out=features[:, 0:stop:width])
    logs = np.log(np.maximum(shares, _LOG_FLOOR))
    features[:, 1:stop:width] = logs / -np.log(_LOG_FLOOR) + np.float32(1.0)
    np.maximum(ranks, 1.0, out=ranks)
    features[:, 2:stop:width] = is_proposed / ranks
    features[:, 3:stop:width] = is_proposed * (_FUSION_RANK / (ranks + (_FUSION_RANK - 1)))
    features[:, stop] = is_proposed.sum(axis=1, dtype=np.float32) / np.float32(max(num_sources, 1))
    return stop + 1


def _fill_own(
    inputs: RankingInputs, begin: int, end: int, features: NDArray[np.float32], stop: int
) -> int:
    """Fill what the user did with the candidate before; return the next free column."""
    places = inputs.candidate_history_places[begin:end]
    ages_s = _seconds(inputs.candidate_history_ages_ms[begin:end])
    actions = inputs.candidate_history_actions[begin:end]
    is_own = (places >= 0).astype(np.float32)
    features[:, stop] = inputs.is_seen[begin:end]
    features[:, stop + 1] = is_own
    features[:, stop + 2] = is_own / (np.maximum(places, 0) + np.float32(1.0))
    features[:, stop + 3] = is_own * _log1p(ages_s) / _LOG_MONTH
    stop += 4
    for decay_s in _OWN_DECAYS_S:
        features[:, stop] = is_own * np.exp(ages_s * np.float32(-1.0 / decay_s))
        stop += 1
    for bit in range(len(_ACTIONS)):
        features[:, stop] = (actions >> np.uint16(bit)) & np.uint16(1)
        stop += 1
    return stop


def _fill_item(
    inputs: RankingInputs, begin: int, end: int, features: NDArray[np.float32], stop: int
) -> int:
    """Fill what is known of the item itself and its fit; return the next free column."""
    num_half_lives = inputs.candidate_popularity_logs.shape[1]
    logs = inputs.candidate_popularity_logs[begin:end]
    np.multiply(logs, np.float32(0.125), out=features[:, stop : stop + num_half_lives])
    stop += num_half_lives
    ages_s = _seconds(inputs.candidate_ages_ms[begin:end])
    features[:, stop] = _log1p(ages_s) / _LOG_MONTH
    stop += 1
    for decay_s in _AGE_DECAYS_S:
        features[:, stop] = np.exp(ages_s * np.float32(-1.0 / decay_s))
        stop += 1
    durations_s = _seconds(inputs.candidate_durations_ms[begin:end].astype(np.int64))
    features[:, stop] = durations_s > 0
    features[:, stop + 1] = _log1p(durations_s) * np.float32(0.125)
    stop += 2
    features[:, stop : stop + NUM_RATES] = inputs.candidate_action_rates[begin:end]
    stop += NUM_RATES
    features[:, stop] = inputs.candidate_author_affinities[begin:end]
    features[:, stop + 1] = inputs.candidate_tag_affinities[begin:end]
    stop += 2
    transitions = inputs.candidate_transitions[begin:end]
    features[:, stop : stop + NUM_TRANSITIONS] = transitions
    stop += NUM_TRANSITIONS
    logs = np.log(np.maximum(transitions, _TRANSITION_FLOOR))
    scaled = logs / -np.log(_TRANSITION_FLOOR) + np.float32(1.0)
    features[:, stop : stop + NUM_TRANSITIONS] = scaled
    return stop + NUM_TRANSITIONS


def user_features(inputs: RankingInputs, users: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what is the same for all candidates of the users, indices int64 (n,).

    Activity, time since the newest entry, length of both interest vectors, and how sure each
    source is (logarithm of its best score).

    Returns:
        float32 (n, 6 + S).
    """
    lengths = inputs.history_lengths[users].astype(np.int64)
    num_sources = inputs.source_maxima.shape[1]
    features = np.zeros((len(users), _NUM_USER_FEATURES + num_sources), np.float32)
    features[:, 0] = _log1p(inputs.num_events[users].astype(np.float32)) * np.float32(0.125)
    features[:, 1] = _log1p(lengths.astype(np.float32)) * np.float32(0.25)
    if inputs.history_ages_ms.shape[1] > 0:
        newest = np.maximum(lengths - 1, 0)[:, None]
        ages_ms = np.take_along_axis(inputs.history_ages_ms[users], newest, axis=1)[:, 0]
        ages_s = _seconds(ages_ms)
        has_history = lengths > 0
        features[:, 2] = has_history * _log1p(ages_s) / _LOG_MONTH
        features[:, 3] = has_history * np.exp(ages_s * np.float32(-1.0 / 1_800.0))
    features[:, 4] = _log1p(np.linalg.norm(inputs.session_vectors[users], axis=1))
    features[:, 5] = _log1p(np.linalg.norm(inputs.long_vectors[users], axis=1))
    features[:, 4:6] *= np.float32(0.25)
    maxima = np.maximum(inputs.source_maxima[users], _TRANSITION_FLOOR)
    features[:, 6:] = np.log(maxima) / -np.log(_TRANSITION_FLOOR) + np.float32(1.0)
    return features


def history_features(inputs: RankingInputs, users: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what is known of each history entry of the users apart from its embedding.

    Action bits, strength, completion, logarithm of the age, reciprocal place (newest 1), decays.

    Returns:
        float32 (n, L, 13); entries beyond the length hold numbers to be masked.
    """
    actions = inputs.history_actions[users]
    features = np.zeros((*actions.shape, NUM_HISTORY_FEATURES), np.float32)
    for bit in range(len(_ACTIONS)):
        features[:, :, bit] = (actions >> np.uint16(bit)) & np.uint16(1)
    stop = len(_ACTIONS)
    ages_s = _seconds(inputs.history_ages_ms[users])
    features[:, :, stop] = inputs.history_strengths[users] * np.float32(1.0 / 3.0)
    features[:, :, stop + 1] = inputs.history_completions[users] * np.float32(1.0 / 255.0)
    features[:, :, stop + 2] = _log1p(ages_s) / _LOG_MONTH
    lengths = inputs.history_lengths[users].astype(np.int64)
    places = lengths[:, None] - 1 - np.arange(actions.shape[1])  # (B, L), 0 newest
    features[:, :, stop + 3] = np.float32(1.0) / (np.maximum(places, 0) + np.float32(1.0))
    for index, decay_s in enumerate(_HISTORY_DECAYS_S):
        features[:, :, stop + 4 + index] = np.exp(ages_s * np.float32(-1.0 / decay_s))
    return features
