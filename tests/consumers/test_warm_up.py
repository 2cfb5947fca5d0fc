"""After the warm-up no kernel is compiled for the ordinary way of an event, from bytes to lists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# In an interpreter of its own: other tests have compiled what they please in this one.
PROGRAM = """
import sys

from numba.core.registry import CPUDispatcher

from consumers.configuration import load_settings, make_engine, make_fusion, make_pipeline
from consumers.records import RecordsWalk
from consumers.rehearsal import made_up_events, rehearse
from consumers.warm_up import compile_kernels
from tests.consumers.batches import Record, record_batch

ROOMS = ("consumers", "models", "state", "stream")


def signatures():
    return {
        f"{name}.{attribute}": len(kernel.signatures)
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in ROOMS
        for attribute, kernel in vars(module).items()
        if isinstance(kernel, CPUDispatcher)
    }


compile_kernels()
before = signatures()
settings = load_settings(["refresh.max_batch=4"])
rehearse(settings, make_fusion(settings))
pipeline = make_pipeline(settings, make_engine(settings))
pipeline.engine.open_users(0)
for codec in ("none", "zstd"):
    records = [Record(delta=n, value=value) for n, value in enumerate(made_up_events())]
    data = record_batch(records, codec=codec)
    for slab in RecordsWalk().slabs(data, topic="t", partition=0, begin=0):
        pipeline.fold_interactions(slab)
after = signatures()
print(*[name for name in after if after[name] != before.get(name)])
"""


def test_no_kernel_is_left_to_the_first_event_or_list() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
