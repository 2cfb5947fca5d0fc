"""Step 7, retrieve: every source proposes for every user of a micro-batch, then one merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stream.candidates import CandidateBatch
from stream.sources.interest import propose_interest
from stream.sources.merge import merge
from stream.sources.neighbours import propose_cooccurring, propose_item_cf
from stream.sources.proposals import Proposals
from stream.sources.recent import propose_recent
from stream.sources.scratch import Histories, Scratch
from stream.sources.shared import SharedListCache
from stream.sources.walk import propose_fresh, propose_trending

if TYPE_CHECKING:
    from state.catalogue import Catalogue
    from stream.candidates import UserBatch
    from stream.sources.limits import RetrievalLimits


def retrieve(
    users: UserBatch,
    catalogue: Catalogue,
    *,
    limits: RetrievalLimits,
    shared: SharedListCache | None = None,
) -> CandidateBatch:
    """Retrieve candidates for B users, with provenance.

    Pure: nothing of users or catalogue changes. A user's candidates do not depend on the other
    users of the batch (interest scores within a float32 product's rounding).

    Args:
        users: B users; their rows belong to the catalogue's present epoch.
        catalogue: The worker's replicated catalogue.
        limits: Which sources run, and their bounds.
        shared: Keeps the lists that all users share between calls (same catalogue, same limits);
            None makes them for this call.

    Returns:
        Live items only, distinct per user, best fused first.
    """
    names = limits.sources
    proposals = Proposals.empty(len(names), len(users), limits.max_per_source)
    histories = Histories.of(users)
    scratch = Scratch.of(catalogue)
    for s, name in enumerate(names):
        into = proposals.of(s)
        if name == "cooccurrence":
            propose_cooccurring(histories, catalogue, scratch, limits, into, two_ways=False)
        elif name == "cooccurrence-two-way":
            propose_cooccurring(histories, catalogue, scratch, limits, into, two_ways=True)
        elif name == "item-cf":
            propose_item_cf(histories, catalogue, scratch, limits, into)
        elif name == "recent":
            propose_recent(histories, scratch, into)
        elif name == "interest":
            propose_interest(users, histories, catalogue, scratch, limits, into)
    if "trending" in names or "fresh" in names:
        lists = shared or SharedListCache()
        _propose_shared(users, histories, catalogue, scratch, limits, lists, proposals)
    return merge(histories, proposals, scratch, limits)


def _propose_shared(
    users: UserBatch,
    histories: Histories,
    catalogue: Catalogue,
    scratch: Scratch,
    limits: RetrievalLimits,
    shared: SharedListCache,
    proposals: Proposals,
) -> None:
    """Fill trending and fresh; users of one moment (all, in a worker) are filled in one call."""
    buckets = users.now_ms // limits.shared_bucket_ms
    skip_seen = not limits.allow_repeats
    for bucket in np.unique(buckets):
        lists = shared.read(int(bucket), catalogue, scratch.hashes, limits)
        indices = np.flatnonzero(buckets == bucket)
        for s, name in enumerate(limits.sources):
            into = proposals.of(s)
            if name == "trending":
                propose_trending(indices, lists, histories, scratch, skip_seen, into)
            elif name == "fresh":
                propose_fresh(indices, lists, users, catalogue, histories, scratch, limits, into)
