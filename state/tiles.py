"""Windows and tiles of event time: half-open, aligned to 0, floor for negative times too.

```
tile_ms = 10        tile  -1        0         1         2
                    [--------)[--------)[--------)[--------)
timestamps_ms      -10        0        10        20        30
```
A window is a ring of the newest ``num_tiles`` tiles; a tile leaves it whole, when stream time
enters the tile that takes its place.
"""

from __future__ import annotations

from state.kernels import kernel


@kernel
def tile_of(timestamp_ms: int, tile_ms: int) -> int:
    """Return the tile ``n`` with ``n * tile_ms <= timestamp < (n + 1) * tile_ms``.

    >>> [tile_of(t, 10) for t in (-11, -10, -1, 0, 9, 10)]
    [-2, -1, -1, 0, 0, 1]
    """
    return timestamp_ms // tile_ms


@kernel
def tile_start_ms(tile: int, tile_ms: int) -> int:
    """Return the first millisecond of a tile; it ends before ``tile_start_ms(tile + 1)``.

    >>> tile_start_ms(tile_of(19, 10), 10)
    10
    """
    return tile * tile_ms


@kernel
def oldest_tile(newest_tile: int, num_tiles: int) -> int:
    """Return the oldest tile of the window ``[newest - num_tiles + 1, newest]``.

    >>> oldest_tile(7, 3)  # 5 6 7
    5
    """
    return newest_tile - num_tiles + 1


@kernel
def is_in_window(tile: int, newest_tile: int, num_tiles: int) -> bool:
    """Tell whether a tile is still kept; one newer than the newest is not there yet.

    >>> [is_in_window(tile, 7, 3) for tile in (4, 5, 7, 8)]
    [False, True, True, False]
    """
    return newest_tile - num_tiles < tile <= newest_tile


@kernel
def ring_place(tile: int, num_tiles: int) -> int:
    """Return the place of a tile in its ring: tiles ``num_tiles`` apart share one.

    >>> [ring_place(tile, 3) for tile in (-1, 0, 1, 2, 3)]
    [2, 0, 1, 2, 0]
    """
    return tile % num_tiles
