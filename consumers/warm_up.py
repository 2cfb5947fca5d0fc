"""Compile every kernel (or load it from numba's cache) before the worker joins its group."""

from __future__ import annotations

import gc
import logging
import time

import consumers.record_kernel
import state.catalogue
import state.warmup
import stream.decode
import stream.frames
import stream.freshness
import stream.refresh_warmup
import stream.routing
import stream.signals

logger = logging.getLogger(__name__)


def compile_kernels() -> None:
    """Compile on the calling thread; seconds with a warm cache, about a minute without."""
    # A person who waits would otherwise see nothing for as long as that takes.
    logger.info("loading kernels; new ones are compiled first, which takes a minute or two, once")
    started = time.monotonic()
    for module in (
        consumers.record_kernel,
        stream.decode,
        stream.routing,
        state.warmup,
        state.catalogue,
        stream.frames,
        stream.signals,
        stream.freshness,
        stream.refresh_warmup,
    ):
        module.compile_kernels()
    logger.info("kernels compiled in %.1f s", time.monotonic() - started)


def freeze_garbage() -> None:
    """Keep the garbage collector away from what stays as long as the process.

    Modules and compiled kernels are half a million objects, which a full collection would look
    at again and again, for a tenth of a second each time.
    """
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    compile_kernels()
