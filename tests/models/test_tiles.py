from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.synthetic import random_inputs
from models.tiles import TILE_WIDTH, bucket, micro_batches, tile_tensors, user_tensors

CPU = torch.device("cpu")


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.just(0) | st.integers(0, 400), max_size=8),
    max_tiles=st.integers(1, 9),
)
def test_micro_batches_place_every_candidate_once_in_a_tile_of_its_user(
    counts: list[int], max_tiles: int
) -> None:
    splits = np.concatenate(([0], np.cumsum(counts, dtype=np.int64))).astype(np.int64)
    owners = np.repeat(np.arange(len(counts)), counts)
    placed = []
    for batch in micro_batches(splits, max_tiles=max_tiles):
        assert 1 <= len(batch.tile_users) <= max_tiles
        assert len(np.unique(batch.positions)) == len(batch.positions) == batch.end - batch.begin
        users = batch.users[batch.tile_users[batch.positions // TILE_WIDTH]]
        np.testing.assert_array_equal(users, owners[batch.begin : batch.end])
        assert len(batch.users) <= len(batch.tile_users)
        placed.extend(range(batch.begin, batch.end))
    assert placed == list(range(sum(counts)))


@given(max_count=st.integers(1, 1024), data=st.data())
def test_bucket_holds_the_count_and_wastes_at_most_a_quarter(
    max_count: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, max_count))
    assert count <= bucket(count, max_count) <= min(max_count, count * 1.25 + 1)


def test_buckets_are_few() -> None:
    assert len({bucket(count, 1024) for count in range(1, 1025)}) <= 36


def test_shapes_are_bucketed_and_padding_is_zero() -> None:
    inputs = random_inputs(num_candidates=(70, 0, 5), dim=16, max_history=4)
    (batch,) = micro_batches(inputs.splits, max_tiles=64)
    tiles = tile_tensors(inputs, batch, num_tiles=5, device=CPU)
    users = user_tensors(inputs, batch, num_users=4, device=CPU)
    assert tiles.embeddings.shape == (5, TILE_WIDTH, 16)
    assert tiles.users.tolist() == [0, 0, 1, 0, 0]
    assert batch.users.tolist() == [0, 2]
    flat = tiles.embeddings.reshape(-1, 16).numpy()
    np.testing.assert_array_equal(flat[batch.positions], inputs.candidate_embeddings)
    rest = np.delete(flat, batch.positions, axis=0)
    assert not rest.any()
    assert users.history.shape[0] == 4
    assert not users.is_present[2:].any()
