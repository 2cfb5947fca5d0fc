"""Slow, obvious dict-and-loop versions of every retrieval and reranking kernel."""

from __future__ import annotations

import math
from hashlib import blake2b

import numpy as np

from state.hashing import mix64
from state.seen import contains
from stream.candidates import SOURCES, CandidateBatch, UserBatch
from stream.rerank import RerankLimits
from stream.rerank_pool import Reason
from stream.sources import RetrievalLimits
from tests.stream.retrieval_worlds import World

NOT_INTERESTED = 1 << 4
Ranked = list[tuple[int, np.float32]]


def history(users: UserBatch, b: int) -> list[int]:
    """Places of present history entries, newest first."""
    places = range(int(users.history_lengths[b]) - 1, -1, -1)
    return [place for place in places if users.history_rows[b, place] >= 0]


def has_seen(world: World, users: UserBatch, b: int, row: int) -> bool:
    in_history = row in [users.history_rows[b, place] for place in history(users, b)]
    return in_history or bool(contains(users.seen_words[b], world.item_hashes[row]))


def best(world: World, scores: dict[int, float], count: int) -> Ranked:
    """The best items: score, then hash of the id, then row."""
    order = sorted(scores, key=lambda row: (-scores[row], int(world.item_hashes[row]), row))
    return [(row, np.float32(scores[row])) for row in order[:count]]


def stable(scores: dict[int, float], count: int) -> Ranked:
    """The best items: score, then which of them came first."""
    order = sorted(scores, key=lambda row: -scores[row])
    return [(row, np.float32(scores[row])) for row in order[:count]]


def allowed(world: World, users: UserBatch, b: int, row: int, limits: RetrievalLimits) -> bool:
    return bool(world.is_live[row]) and (limits.allow_repeats or not has_seen(world, users, b, row))


def faded(world: World, row: int, now_ms: int) -> float:
    total = 0.0
    for window, weights in enumerate(world.fading.weights.tolist()):
        age = max(now_ms - int(world.popularity_time_ms[row]), 0)
        age *= float(world.fading.generations_per_ms[window])
        if age < len(weights) - 1:
            step = int(age)
            weight = weights[step] + (age - step) * (weights[step + 1] - weights[step])
            total += float(world.window_shares[row, window]) * weight
        if age == 0:
            return 1.0
    return total


def neighbours(
    world: World, users: UserBatch, b: int, limits: RetrievalLimits, source: str
) -> Ranked:
    is_cf = source == "item-cf"
    both = limits.two_way_weight if source == "cooccurrence-two-way" else 0.0
    forward = world.neighbour_cf if is_cf else world.neighbour_out
    backward = world.neighbour_cf if is_cf else world.neighbour_in
    firsts = world.interactions if is_cf else world.out_sums
    seconds = world.interactions if is_cf else world.in_sums
    smoothing = limits.item_cf_smoothing if is_cf else limits.cooccurrence_smoothing
    decay = limits.item_cf_decay if is_cf else limits.cooccurrence_decay
    most = limits.item_cf_history if is_cf else limits.cooccurrence_history
    voters = [
        int(users.history_rows[b, place])
        for place in history(users, b)
        if users.history_strengths[b, place] >= limits.min_history_strength
        and not users.history_actions[b, place] & NOT_INTERESTED
    ][:most]
    sums: dict[int, float] = {}
    weight = 1.0
    now_ms = int(users.now_ms[b])
    for voter in voters:
        kept = faded(world, voter, now_ms)
        norm = max(kept * (float(firsts[voter]) + both * float(seconds[voter])) + smoothing, 1.0)
        for slot, row in enumerate(world.neighbour_rows[voter].tolist()):
            if row < 0:
                continue
            count = kept * (float(forward[voter, slot]) + both * float(backward[voter, slot]))
            other = float(seconds[row]) + both * float(firsts[row])
            other = max(faded(world, row, now_ms) * other + smoothing, 1.0)
            if count > 0:
                sums[row] = sums.get(row, 0.0) + weight * count / math.sqrt(norm * other)
        weight *= decay
    rounded = {
        row: float(np.float32(score))
        for row, score in sums.items()
        if allowed(world, users, b, row, limits)
    }
    return stable(rounded, limits.max_per_source)


def recent(world: World, users: UserBatch, b: int, limits: RetrievalLimits) -> Ranked:
    found = []
    for place in history(users, b):
        row = int(users.history_rows[b, place])
        if world.is_live[row] and not users.history_actions[b, place] & NOT_INTERESTED:
            back = int(users.history_lengths[b]) - 1 - place
            found.append((row, np.float32(1.0) / np.float32(1 + back)))
    return found[: limits.max_per_source]


def trending_list(world: World, now_ms: int, limits: RetrievalLimits) -> Ranked:
    half_lives = world.limits.half_lives_ms
    weights = limits.trending_weights or [(each / half_lives[0]) ** 0.25 for each in half_lives]
    hour_ms = 3_600_000
    keys = {}
    for row in np.flatnonzero(world.is_live).tolist():
        elapsed = max(now_ms - int(world.popularity_time_ms[row]), 0)
        logs = []
        for column, half_life_ms in enumerate(half_lives):
            rate = weights[column] * math.log(2.0) / half_life_ms * hour_ms
            value = rate * float(world.popularity[row, column])
            if value > 0:
                logs.append(math.log2(value) - elapsed / half_life_ms)
        if logs:
            most = max(logs)
            keys[row] = most + math.log2(sum(math.exp2(each - most) for each in logs))
    tiny = float(np.finfo(np.float32).tiny)
    ranked = best(world, keys, limits.trending_depth)
    return [(row, np.float32(max(math.exp2(keys[row]), tiny))) for row, _ in ranked]


def trending(world: World, users: UserBatch, b: int, limits: RetrievalLimits) -> Ranked:
    bucket_ms = limits.shared_bucket_ms
    end_of_bucket_ms = (int(users.now_ms[b]) // bucket_ms + 1) * bucket_ms - 1
    found = [
        (row, score)
        for row, score in trending_list(world, end_of_bucket_ms, limits)
        if allowed(world, users, b, row, limits)
    ]
    return found[: limits.max_per_source]


def fresh(world: World, users: UserBatch, b: int, limits: RetrievalLimits) -> Ranked:
    now_ms = int(users.now_ms[b])
    bucket_end_ms = (now_ms // limits.shared_bucket_ms + 1) * limits.shared_bucket_ms - 1
    born = {
        row: float(world.created_at_ms[row])
        for row in np.flatnonzero(world.is_live).tolist()
        if world.created_at_ms[row] <= bucket_end_ms
    }
    pool = [row for row, _ in best(world, born, limits.fresh_pool)]
    digest = blake2b(users.user_ids[b], digest_size=8).digest()
    user_hash = np.uint64(int.from_bytes(digest, "little"))
    scores = {}
    for place, row in enumerate(pool):
        if world.created_at_ms[row] > now_ms or not allowed(world, users, b, row, limits):
            continue
        share = (int(mix64(user_hash ^ world.item_hashes[row])) >> 11) / 2**53
        jitter = limits.fresh_jitter
        score = (1.0 - jitter) * (1.0 - place / len(pool)) + jitter * share
        scores[row] = float(np.float32(score))
    return stable(scores, limits.max_per_source)


def interest_scores(
    world: World, users: UserBatch, b: int, limits: RetrievalLimits
) -> dict[int, float]:
    """Cosines of every allowed live item, in float64."""

    def unit(vector: np.ndarray) -> np.ndarray:
        norm = np.linalg.norm(vector)
        return vector / norm if norm > 0 else vector

    weight = limits.interest_session_weight
    session = unit(users.session_vectors[b].astype(np.float64))
    query = unit(weight * session + (1 - weight) * unit(users.long_vectors[b].astype(np.float64)))
    return {
        row: float(world.embeddings[row].astype(np.float64) @ query)
        for row in range(len(world.is_live))
        if allowed(world, users, b, row, limits)
    }


def propose(world: World, users: UserBatch, b: int, limits: RetrievalLimits, source: str) -> Ranked:
    """One source's list, whichever (interest apart)."""
    exact = {"recent": recent, "trending": trending, "fresh": fresh}
    if source in exact:
        return exact[source](world, users, b, limits)
    return neighbours(world, users, b, limits, source)


def merged(
    world: World,
    users: UserBatch,
    b: int,
    limits: RetrievalLimits,
    lists: dict[str, Ranked],
) -> list[int]:
    """Rows of one user's candidates, best fused first."""
    sums: dict[int, float] = {}
    for source in limits.sources:
        for place, (row, _) in enumerate(lists[source]):
            sums[row] = sums.get(row, 0.0) + 1.0 / (limits.fused_k + 1.0 + place)

    def key(row: int) -> tuple[bool, float]:
        stands_behind = not limits.allow_repeats and has_seen(world, users, b, row)
        return stands_behind, -float(np.float32(sums[row]))

    return sorted(sums, key=key)[: limits.max_candidates]


def rerank(
    world: World,
    users: UserBatch,
    candidates: CandidateBatch,
    scores: np.ndarray,
    b: int,
    limits: RerankLimits,
) -> tuple[list[int], list[np.float32], dict[int, Reason]]:
    """One user's slate (indices of candidates), what decided each place, and all reasons."""
    mine = range(int(candidates.splits[b]), int(candidates.splits[b + 1]))
    rows = candidates.item_rows
    disliked = [
        int(users.history_rows[b, place])
        for place in history(users, b)
        if users.history_actions[b, place] & NOT_INTERESTED
    ]
    reasons: dict[int, Reason] = {}
    for c in mine:
        reasons[c] = Reason.OVERFLOW
        if not world.is_live[rows[c]]:
            reasons[c] = Reason.NOT_LIVE
        elif not math.isfinite(scores[c]):
            reasons[c] = Reason.UNSCORED
        elif rows[c] in disliked:
            reasons[c] = Reason.BLOCKED
        elif candidates.is_seen[c] and not limits.allow_repeats:
            reasons[c] = Reason.SEEN
    relevance = _relevance(world, rows, scores, reasons, disliked, limits)
    running = sorted(
        (c for c in relevance if reasons[c] == Reason.OVERFLOW), key=lambda c: -relevance[c]
    )
    author = {c: int(world.author_keys[rows[c]]) for c in mine}
    explorers = _explorers(world, candidates, running, author, limits)
    pool = _pool(running, explorers, author, reasons, limits)
    slate, values = _picked(world, rows, pool, explorers, author, relevance, limits)
    if limits.refill_seen:
        for c in sorted(
            (c for c in relevance if reasons[c] == Reason.SEEN), key=lambda c: -relevance[c]
        ):
            same = sum(1 for other in slate if author[c] and author[other] == author[c])
            is_capped = limits.max_per_author and same >= limits.max_per_author
            if len(slate) < limits.slate_size and not is_capped:
                slate.append(c)
                values.append(relevance[c])
    for c in slate:
        reasons[c] = Reason.KEPT
    return slate, values, reasons


def _relevance(world, rows, scores, reasons, disliked, limits):  # type: ignore[no-untyped-def]
    kept = [c for c in reasons if reasons[c] in (Reason.OVERFLOW, Reason.SEEN)]
    low = min([0.0, *(float(scores[c]) for c in kept)])
    high = max((float(scores[c]) for c in kept), default=0.0)
    authors = {int(world.author_keys[row]) for row in disliked} - {0}
    relevance = {}
    for c in kept:
        value = (float(scores[c]) - low) / (high - low) if high > low else 1.0
        if int(world.author_keys[rows[c]]) in authors:
            value *= limits.blocked_author_factor
        relevance[c] = np.float32(value)
    return relevance


def _explorers(world, candidates, running, author, limits):  # type: ignore[no-untyped-def]
    ranks = candidates.ranks[:, SOURCES.index("fresh")]
    explorers: list[int] = []
    for c in sorted((c for c in running if ranks[c]), key=lambda c: int(ranks[c])):
        is_known = world.interactions[candidates.item_rows[c]] > limits.exploration_max_interactions
        is_same = author[c] and any(author[c] == author[other] for other in explorers)
        if not is_known and not is_same and len(explorers) < len(limits.exploration_places):
            explorers.append(c)
    return explorers


def _pool(running, explorers, author, reasons, limits):  # type: ignore[no-untyped-def]
    counts: dict[int, int] = {}
    for c in explorers:
        counts[author[c]] = counts.get(author[c], 0) + 1
    pool, ordinary = [], 0
    for c in running:
        if c not in explorers:
            if ordinary == limits.pool_size:
                continue
            count = counts.get(author[c], 0)
            if author[c] and limits.max_per_author and count >= limits.max_per_author:
                reasons[c] = Reason.AUTHOR_CAP
                continue
            counts[author[c]] = count + 1
            ordinary += 1
        pool.append(c)
    return pool


def _picked(world, rows, pool, explorers, author, relevance, limits):  # type: ignore[no-untyped-def]
    decay, floor = np.float32(limits.author_decay), np.float32(limits.author_floor)
    multiplier = dict.fromkeys(pool, np.float32(1.0))
    similarity = dict.fromkeys(pool, np.float32(0.0))
    slate: list[int] = []
    values: list[np.float32] = []
    while len(slate) < limits.slate_size and len(slate) < len(pool):
        left = [c for c in pool if c not in slate]
        waiting = [c for c in explorers if c not in slate]
        if len(slate) in limits.exploration_places and waiting:
            chosen, value = waiting[0], relevance[waiting[0]]
        else:
            diversity = np.float32(limits.diversity)
            worth = {c: relevance[c] * multiplier[c] - diversity * similarity[c] for c in left}
            chosen = max(left, key=lambda c: worth[c])
            value = worth[chosen]
        slate.append(chosen)
        values.append(value)
        for c in pool:
            if author[c] and author[c] == author[chosen]:
                multiplier[c] = (multiplier[c] - floor) * decay + floor
            if limits.diversity:
                product = np.float32(0.0)
                pairs = zip(world.embeddings[rows[c]], world.embeddings[rows[chosen]], strict=True)
                for left_value, right_value in pairs:
                    product += left_value * right_value
                similarity[c] = max(similarity[c], product)
    return slate, values
