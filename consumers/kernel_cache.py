"""A cache of compiled kernels that belongs to these very sources.

numba caches a kernel by the time stamp of its own file and does not notice that a function it calls
changed in another file: after an update the old machine code would run on. The cache therefore
lives in a folder named by a hash over all sources that hold kernels. Called by ``consumers`` before
anything that compiles is imported; ``NUMBA_CACHE_DIR`` wins.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import numba

_ROOMS = ("state", "stream", "consumers")
_KEPT = 3
# Beyond those: what another checkout started from in these days is not compiled anew there.
_KEPT_S = 7 * 24 * 3600.0


def source_hash(root: Path) -> str:
    """Return a hash over the names and contents of all sources that may hold kernels."""
    hashed = hashlib.blake2b(digest_size=8)
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            hashed.update(path.relative_to(root).as_posix().encode() + b"\0")
            hashed.update(path.read_bytes())
    hashed.update(numba.__version__.encode())
    return hashed.hexdigest()


def use_kernel_cache() -> None:
    """Point numba at the folder of these sources; older folders beyond the last few go."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    root = Path(__file__).resolve().parent.parent
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headwater"
    folder = base / f"kernels-{source_hash(root)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        known = sorted(base.glob("kernels-*"), key=lambda each: each.stat().st_mtime)
        for old in known[:-_KEPT]:
            if old.stat().st_mtime < time.time() - _KEPT_S:
                shutil.rmtree(old, ignore_errors=True)
    except OSError:
        return  # A home that cannot be written: numba's own place beside the sources has to do.
    numba.config.CACHE_DIR = str(folder)
