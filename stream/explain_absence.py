"""Why an item is not in a list: a verdict (one word), a reason (a sentence), what they rest on.

The first that holds, in the order in which the pipeline would meet it: unknown, withdrawn or
hidden, blocked, seen, not proposed, cut; for a candidate the reason that reranking gave it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from state.catalogue import Catalogue
from state.seen import contains
from stream.candidates import SOURCES, CandidateBatch, UserBatch
from stream.explain_ranking import rounded
from stream.explain_slate import same_author
from stream.rerank import RerankLimits, Slates
from stream.rerank_pool import Reason
from stream.sources import RetrievalLimits
from stream.sources.seen import NOT_INTERESTED_BIT

Verdict = dict[str, Any]


def _verdict(word: str, reason: str, **facts: Any) -> Verdict:
    return {"verdict": word, "reason": reason, **facts}


def why_no_candidate(
    users: UserBatch,
    row: int,
    wide: CandidateBatch | None,
    catalogue: Catalogue,
    limits: RetrievalLimits,
) -> Verdict:
    """Say why no source's proposal of an item became a candidate.

    Args:
        users: One user.
        row: The item's catalogue row; -1 unknown.
        wide: Candidates of the same user at wider bounds; None for an unknown item.
        catalogue: What is known of items.
        limits: The pipeline's bounds.
    """
    if row < 0 or wide is None:
        return _verdict(
            "unknown_item",
            "the catalogue does not know this id: nobody announced it, no event named it, or it "
            "was evicted; is it spelled as in the events?",
        )
    if not catalogue.is_live[row]:
        return _not_live(catalogue, row)
    past = _seen_verdict(users, row, catalogue, limits.allow_repeats)
    return past or _not_proposed(row, wide, limits)


def _not_live(catalogue: Catalogue, row: int) -> Verdict:
    if catalogue.is_announced[row]:
        return _verdict("hidden", "announced with a status that forbids recommending it")
    return _verdict("removed", "withdrawn: the topic of items has a record without a value for it")


def _seen_verdict(
    users: UserBatch, row: int, catalogue: Catalogue, allow_repeats: bool
) -> Verdict | None:
    """Say whether the user blocked or consumed the item; None when neither holds."""
    places = np.flatnonzero(users.history_rows[0, : users.history_lengths[0]] == row)
    if len(places):
        place = int(places[-1])
        at_ms = int(users.history_times_ms[0, place])
        if users.history_actions[0, place] & NOT_INTERESTED_BIT:
            return _verdict("not_interested", "the user said not_interested to it", at_ms=at_ms)
        if not allow_repeats:
            reason = "in the user's history, and ranking.repeats excludes what was consumed"
            return _verdict("seen", reason, at_ms=at_ms)
    if not allow_repeats and contains(users.seen_words[0], catalogue.item_hashes[row]):
        return _verdict(
            "seen",
            "the user's seen filter holds it (consumed before what the history still knows, or one "
            "of the filter's rare false alarms), and ranking.repeats excludes what was consumed",
        )
    return None


def _not_proposed(row: int, wide: CandidateBatch, limits: RetrievalLimits) -> Verdict:
    """Say where an item would have stood with wider bounds, if anywhere."""
    found = np.flatnonzero(wide.item_rows == row)
    if not len(found):
        return _verdict(
            "not_proposed",
            "no source proposes it to this user: it follows nothing in the history, is not among "
            "the nearest to the interests, not trending and not among the newest",
            would_rank={},
        )
    ranks = wide.ranks[int(found[0])].tolist()
    named = {SOURCES[s]: rank for s, rank in enumerate(ranks) if rank}
    if min(named.values()) > limits.max_per_source:
        return _verdict(
            "beyond_source_bound",
            f"proposed only beyond retrieval.max_per_source = {limits.max_per_source}: "
            + ", ".join(f"{name} has it at {rank}" for name, rank in named.items()),
            would_rank=named,
        )
    return _verdict(
        "cut_from_candidates",
        f"proposed, but more than retrieval.max_candidates = {limits.max_candidates} candidates "
        f"stand better over all sources: "
        + ", ".join(f"{name} has it at {rank}" for name, rank in named.items()),
        would_rank=named,
    )


def why_not_in_slate(
    candidates: CandidateBatch,
    slates: Slates,
    ranking: dict[str, Any],
    catalogue: Catalogue,
    limits: RerankLimits,
    *,
    candidate: int,
) -> Verdict:
    """Say why reranking left a candidate out; the word follows its :class:`Reason`.

    Args:
        candidates: Of one user.
        slates: The slate, and the reason of every candidate.
        ranking: What :func:`stream.explain_ranking.explain_score` said of the candidate.
        catalogue: What is known of items.
        limits: Reranking's.
        candidate: Index into C; not in the slate.
    """
    row = int(candidates.item_rows[candidate])
    reason = Reason(int(slates.reasons[candidate]))
    if reason is Reason.NOT_LIVE:
        return _not_live(catalogue, row)
    if reason is Reason.UNSCORED:
        return _verdict("unscored", "the ranker gave it a score that is no number")
    if reason is Reason.BLOCKED:
        return _verdict("not_interested", "the user said not_interested to it")
    if reason is Reason.SEEN:
        return _verdict("seen", "consumed before, and ranking.repeats excludes what was consumed")
    rows = candidates.item_rows[slates.candidates]
    same = same_author(catalogue, row, rows)
    if reason is Reason.AUTHOR_CAP:
        return _verdict(
            "author_cap",
            f"ranking.max_per_author = {limits.max_per_author} better items of its author were "
            "taken before it",
            same_author_in_list=same,
        )
    earned = slates.scores[~(slates.is_explored | slates.is_refilled)]
    lowest = float(earned.min()) if len(earned) else 0.0
    return _verdict(
        "below_cut",
        f"ranked {ranking['rank']} of {ranking['num_candidates']} by score, the list holds "
        f"{limits.slate_size} (the lowest score that earned a place is {rounded(lowest)}; "
        "diversity and the author's other items move a few places, explored items take some)",
        same_author_in_list=same,
        pool_size=limits.pool_size,
    )
