"""Micro-batches: candidates in tiles of one user, padded to a bounded set of shapes.

A tile is W places that belong to one user; a user with n candidates fills ceil(n / W) tiles and
leaves the rest of the last one zero. A micro-batch is up to ``max_tiles`` tiles in a row with the
users that they touch. Both counts are rounded up to a bucket, so that allocators, kernels and
compiled graphs meet few shapes, and a user with any number of candidates fits.

```
user 0: 5 candidates, user 1: 2, W = 4     [c c c c] [c . . .] [c c . .]
                                            user 0    user 0    user 1
```
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.features import candidate_features, history_features, user_features
from models.network import TileTensors, UserTensors
from models.ranking import RankingInputs

# Places per tile: 300 candidates fill five with 6 % to spare, one candidate wastes little.
TILE_WIDTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Tiles ``[0, num_tiles)`` of one stretch of candidates, before padding.

    Attributes:
        users: int64 (U,), the users with candidates in it, ascending; U <= num_tiles.
        begin: First candidate.
        end: After the last candidate.
        tile_users: int64 (num_tiles,), index into ``users``.
        positions: int64 (end - begin,), each candidate's place in the flattened tiles.
    """

    users: NDArray[np.int64]
    begin: int
    end: int
    tile_users: NDArray[np.int64]
    positions: NDArray[np.int64]


def bucket(count: int, max_count: int) -> int:
    """Round up to 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ... but at most max_count.

    Four steps per doubling: at most a quarter is padding.

    >>> [bucket(n, 64) for n in (1, 5, 9, 17, 33, 63, 64)]
    [1, 5, 10, 20, 40, 64, 64]
    >>> bucket(41, 43)
    43
    """
    if count <= 8:
        return min(max(count, 1), max_count)
    step = 1 << (count.bit_length() - 3)
    if count & (count - 1) == 0:
        step //= 2
    return min(-(-count // step) * step, max_count)


def micro_batches(splits: NDArray[np.int64], *, max_tiles: int) -> Iterator[MicroBatch]:
    """Cut users' candidates into micro-batches of at most max_tiles tiles, in order.

    Args:
        splits: int64 (B + 1,), ascending from 0.
        max_tiles: Bound of tiles per micro-batch, at least 1.

    Yields:
        Batches that cover every candidate once; a user without candidates may be in none.
    """
    counts = np.diff(splits)
    tiles_per_user = -(-counts // TILE_WIDTH)
    tile_users = np.repeat(np.arange(len(counts)), tiles_per_user)
    first_tiles = np.cumsum(tiles_per_user) - tiles_per_user
    # Tile t of user b starts at candidate splits[b] + W * (t - first tile of b).
    starts = splits[tile_users] + TILE_WIDTH * (
        np.arange(len(tile_users)) - first_tiles[tile_users]
    )
    for first in range(0, len(tile_users), max_tiles):
        owners = tile_users[first : first + max_tiles]
        users, places_of_owners = np.unique(owners, return_inverse=True)
        begins = starts[first : first + max_tiles]
        begin = int(begins[0])
        end = min(int(begins[-1]) + TILE_WIDTH, int(splits[owners[-1] + 1]))
        sizes = np.diff(np.append(begins, end))
        candidates = np.arange(end - begin)
        places = np.repeat(np.arange(len(owners)) * TILE_WIDTH - (begins - begin), sizes)
        yield MicroBatch(
            users=users,
            begin=begin,
            end=end,
            tile_users=places_of_owners.astype(np.int64),
            positions=places + candidates,
        )


def user_tensors(
    inputs: RankingInputs, batch: MicroBatch, *, num_users: int, device: torch.device
) -> UserTensors:
    """Encode the users of a micro-batch, padded with empty users to num_users."""
    rows = batch.users
    length, dim = inputs.history_embeddings.shape[1:]
    entries = history_features(inputs, rows)
    history = np.zeros((num_users, length, dim + entries.shape[2]), np.float32)
    history[: len(rows), :, :dim] = inputs.history_embeddings[rows]
    history[: len(rows), :, dim:] = entries
    is_present = np.zeros((num_users, length), np.bool_)
    is_present[: len(rows)] = inputs.history_present[rows]
    vectors = np.zeros((num_users, dim, 2), np.float32)
    vectors[: len(rows), :, 0] = _unit(inputs.session_vectors[rows])
    vectors[: len(rows), :, 1] = _unit(inputs.long_vectors[rows])
    columns = user_features(inputs, rows)
    features = np.zeros((num_users, columns.shape[1]), np.float32)
    features[: len(rows)] = columns
    return UserTensors(
        history=torch.from_numpy(history).to(device),
        is_present=torch.from_numpy(is_present).to(device),
        vectors=torch.from_numpy(vectors).to(device),
        features=torch.from_numpy(features).to(device),
    )


def tile_tensors(
    inputs: RankingInputs, batch: MicroBatch, *, num_tiles: int, device: torch.device
) -> TileTensors:
    """Lay the candidates of a micro-batch into tiles, padded with empty tiles to num_tiles."""
    columns = candidate_features(inputs, batch.begin, batch.end)
    features = np.zeros((num_tiles * TILE_WIDTH, columns.shape[1]), np.float32)
    features[batch.positions] = columns
    dim = inputs.candidate_embeddings.shape[1]
    embeddings = np.zeros((num_tiles * TILE_WIDTH, dim), np.float32)
    embeddings[batch.positions] = inputs.candidate_embeddings[batch.begin : batch.end]
    users = np.zeros(num_tiles, np.int64)
    users[: len(batch.tile_users)] = batch.tile_users
    shape = (num_tiles, TILE_WIDTH, -1)
    return TileTensors(
        users=torch.from_numpy(users).to(device),
        embeddings=torch.from_numpy(embeddings.reshape(shape)).to(device),
        features=torch.from_numpy(features.reshape(shape)).to(device),
    )


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide rows (n, D) by their length; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(norms, np.float32(1e-12))
    return unit
