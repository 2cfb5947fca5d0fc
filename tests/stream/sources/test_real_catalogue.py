"""Retrieval, gathering and reranking over the real catalogue, fed as a worker feeds it."""

from __future__ import annotations

import numpy as np
import pytest

from models.fusion import FusionRanker
from state.catalogue import Catalogue
from state.item_columns import ItemColumns
from state.item_limits import CatalogueLimits
from state.seen import seen_key
from state.signal_columns import SignalColumns
from stream.candidates import SOURCES, CandidateBatch, UserBatch
from stream.ranking_inputs import gather
from stream.refresh_warmup import compile_kernels
from stream.rerank import RerankLimits, rerank
from stream.rerank_pool import Reason
from stream.sources import RetrievalLimits, SharedListCache, retrieve
from tests.stream.retrieval_worlds import NOW_MS

DIM = 8
IDS = [f"item-{i}".encode() for i in range(12)]


def spans(ids: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths = np.array([len(each) for each in ids], np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    return np.frombuffer(b"".join(ids), np.uint8), starts, lengths


@pytest.fixture
def catalogue() -> Catalogue:
    """Twelve announced items; item-0 is followed by item-1 (often) and item-2 (once)."""
    made = Catalogue(limits=CatalogueLimits(max_items=64, dim=DIM, num_neighbours=4))
    made.put(ItemColumns.of(IDS, created_at_ms=[NOW_MS - 1000 * i for i in range(12)]))
    buffer, starts, lengths = spans([IDS[0], IDS[1], IDS[2]])
    pairs = np.array([[8.0, 8.0], [1.0, 1.0]], np.float32)
    made.apply_signals(
        SignalColumns(
            buffer=buffer,
            starts=starts,
            lengths=lengths,
            offsets=np.full(3, 5, np.int64),
            as_of_ms=np.full(3, NOW_MS, np.int64),
            popularity=np.array([[9.0] * 5, [5.0] * 5, [1.0] * 5], np.float32),
            action_counts=np.ones((3, 5), np.float32),
            interactions=np.full((3, 2), 10.0, np.float32),
            out_sums=np.full((3, 2), 9.0, np.float32),
            in_sums=np.full((3, 2), 9.0, np.float32),
            neighbour_splits=np.array([0, 2, 2, 2], np.int64),
            neighbour_starts=starts[1:],
            neighbour_lengths=lengths[1:],
            neighbour_out=pairs,
            neighbour_in=pairs,
            neighbour_cf=pairs,
        )
    )
    return made


def user(catalogue: Catalogue, history: list[bytes], actions: int = 1) -> UserBatch:
    rows = np.full((1, 4), -1, np.int32)
    rows[0, : len(history)] = [catalogue.items.row_of(each) for each in history]
    vector = catalogue.embeddings[rows[0, :1]] if history else np.zeros((1, DIM), np.float32)
    shape = rows.shape
    return UserBatch(
        partition=0,
        next_offset=7,
        user_ids=(b"u",),
        user_rows=np.zeros(1, np.int32),
        now_ms=np.full(1, NOW_MS, np.int64),
        events_to_ms=np.full(1, NOW_MS, np.int64),
        history_rows=rows,
        history_times_ms=np.full(shape, NOW_MS, np.int64),
        history_strengths=np.ones(shape, np.uint8),
        history_actions=np.full(shape, actions, np.uint16),
        history_completions=np.zeros(shape, np.uint8),
        history_lengths=np.array([len(history)], np.int32),
        session_vectors=vector.copy(),
        long_vectors=vector.copy(),
        affinity_keys=np.zeros((1, 2), np.uint64),
        affinity_weights=np.zeros((1, 2), np.float32),
        seen_words=np.zeros((1, 16), np.uint64),
        num_events=np.array([len(history)], np.int64),
    )


def listed(catalogue: Catalogue, batch: CandidateBatch, source: str) -> list[bytes]:
    ranks = batch.ranks[:, SOURCES.index(source)]
    order = np.argsort(ranks[ranks > 0])
    return catalogue.items.ids(batch.item_rows[ranks > 0][order])


def test_item_hashes_are_the_keys_of_seen_filters(catalogue: Catalogue) -> None:
    for item_id in IDS:
        key = seen_key(np.frombuffer(item_id, np.uint8), 0, len(item_id))
        assert catalogue.item_hashes[catalogue.items.row_of(item_id)] == key


def test_every_source_reads_the_real_columns(catalogue: Catalogue) -> None:
    batch = retrieve(user(catalogue, [b"item-0"]), catalogue, limits=RetrievalLimits())
    for source in ("cooccurrence", "cooccurrence-two-way", "item-cf"):
        assert listed(catalogue, batch, source) == [b"item-1", b"item-2"]
    assert listed(catalogue, batch, "recent") == [b"item-0"]
    assert listed(catalogue, batch, "trending") == [b"item-1", b"item-2"]
    assert set(listed(catalogue, batch, "fresh")) == set(IDS[1:])
    assert batch.is_seen.sum() == 1


def test_a_removed_item_is_gone_from_the_next_list(catalogue: Catalogue) -> None:
    users, shared, limits = user(catalogue, [b"item-0"]), SharedListCache(), RetrievalLimits()
    before = retrieve(users, catalogue, limits=limits, shared=shared)
    assert b"item-1" in catalogue.items.ids(before.item_rows)
    catalogue.remove([b"item-1"])
    after = retrieve(users, catalogue, limits=limits, shared=shared)
    assert b"item-1" not in catalogue.items.ids(after.item_rows)


def test_from_candidates_to_a_slate(catalogue: Catalogue) -> None:
    users = user(catalogue, [b"item-0"])
    batch = retrieve(users, catalogue, limits=RetrievalLimits())
    inputs = gather(users, batch, catalogue)
    assert len(inputs) == len(batch)
    ranker = FusionRanker((1.0,) * len(SOURCES))
    slates = rerank(users, batch, ranker.score(inputs), catalogue, limits=RerankLimits())
    names = catalogue.items.ids(batch.item_rows[slates.candidates])
    assert set(names[:2]) == {b"item-1", b"item-2"}
    assert names[-1] == b"item-0"
    assert slates.is_refilled.tolist() == [False] * 11 + [True]
    disliked = user(catalogue, [b"item-0"], actions=1 << 4)
    slates = rerank(disliked, batch, ranker.score(inputs), catalogue, limits=RerankLimits())
    assert b"item-0" not in catalogue.items.ids(batch.item_rows[slates.candidates])
    assert (slates.reasons == Reason.BLOCKED).sum() == 1


def test_an_empty_catalogue_gives_empty_lists() -> None:
    empty = Catalogue(limits=CatalogueLimits(max_items=8, dim=DIM, num_neighbours=4))
    users = user(empty, [])
    batch = retrieve(users, empty, limits=RetrievalLimits())
    slates = rerank(
        users,
        batch,
        FusionRanker((1.0,) * len(SOURCES)).score(gather(users, batch, empty)),
        empty,
        limits=RerankLimits(),
    )
    assert len(batch) == len(slates) == 0


def test_warm_up_compiles_every_signature_that_a_worker_uses(catalogue: Catalogue) -> None:
    from stream.rerank_picking import judge_kernel, pick_kernel
    from stream.sources.merge import _merge_kernel
    from stream.sources.neighbours import _vote_kernel

    kernels = (judge_kernel, pick_kernel, _merge_kernel, _vote_kernel)
    compile_kernels()
    before = [len(kernel.signatures) for kernel in kernels]
    users = user(catalogue, [b"item-0"])
    batch = retrieve(users, catalogue, limits=RetrievalLimits())
    scores = FusionRanker((1.0,) * len(SOURCES)).score(gather(users, batch, catalogue))
    rerank(users, batch, scores, catalogue, limits=RerankLimits())
    assert [len(kernel.signatures) for kernel in kernels] == before
