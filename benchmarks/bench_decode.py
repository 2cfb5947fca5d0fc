"""Decode a slab of interactions: the scanner, the whole decoder, and msgspec record by record.

``python benchmarks/bench_decode.py [--events N] [--rounds N]`` prints one JSON line. Each contender
runs in a process of its own (``--contender NAME``), rounds are timed after a warm-up, the median
counts. Events are about 283 bytes, ordinary JSON of ``json.dumps``; ``escaped`` has ids that
``json.dumps`` escapes, ``bad`` one record in ten cut in half.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stream.decode import decode_events
from stream.scanner import scan_values
from stream.slab import Slab

_SEED = 7
_ACTIONS = ("watch", "watch", "watch", "watch", "like", "comment", "share")


class _Event(msgspec.Struct):
    event_id: str
    type: str
    user_id: str
    item_id: str
    ts: int
    watch_ms: int = -1
    duration_ms: int = -1


def make_events(count: int, *, prefix: str = "user", share_bad: float = 0.0) -> list[bytes]:
    rng = random.Random(_SEED)
    values = []
    for number in range(count):
        fields = {
            "event_id": f"e-{rng.getrandbits(96):024x}",
            "type": rng.choice(_ACTIONS),
            "user_id": f"{prefix}-{rng.randrange(10**6):08d}",
            "item_id": f"item-{rng.randrange(10**6):08d}",
            "ts": 1_767_225_600_000 + number,
            "watch_ms": rng.randrange(60_000),
            "duration_ms": 30_000,
            "request_id": f"{rng.getrandbits(128):032x}",
            "position": rng.randrange(50),
            "device": "android-14-pixel-8-phone-x",
        }
        value = json.dumps(fields).encode()
        values.append(value[: len(value) // 2] if rng.random() < share_bad else value)
    return values


def msgspec_per_record(values: list[bytes]) -> Callable[[], object]:
    decoder = msgspec.json.Decoder(_Event)
    return lambda: [decoder.decode(value) for value in values]


def contender(name: str, count: int) -> Callable[[], object]:
    prefix = "nützer" if name == "decode_escaped" else "user"
    values = make_events(count, prefix=prefix, share_bad=0.1 if name == "decode_bad" else 0.0)
    if name == "msgspec":
        return msgspec_per_record(values)
    times = np.full(count, 1_767_225_600_000 + count)
    slab = Slab.from_values(values, timestamps_ms=times)
    if name == "scanner":
        return lambda: scan_values(slab.buffer, slab.value_starts, slab.value_lengths)
    return lambda: decode_events(slab)


CONTENDERS = ("scanner", "decode", "decode_escaped", "decode_bad", "msgspec")


def measure(name: str, count: int, rounds: int) -> float:
    """Return the median events per second of one contender."""
    run = contender(name, count)
    run()
    seconds = []
    for _ in range(rounds):
        gc.collect()
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return count / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--contender", choices=CONTENDERS)
    arguments = parser.parse_args()
    if arguments.contender:
        print(measure(arguments.contender, arguments.events, arguments.rounds))
        return
    speeds = {}
    for name in CONTENDERS:
        command = [sys.executable, __file__, "--contender", name]
        command += ["--events", str(arguments.events), "--rounds", str(arguments.rounds)]
        speeds[name] = float(subprocess.run(command, check=True, capture_output=True).stdout)
    sizes = [len(value) for value in make_events(1000)]
    print(
        json.dumps(
            {
                "events_per_s": round(speeds["decode"]),
                "ratio": round(speeds["decode"] / speeds["msgspec"], 2),
                "bytes_per_event": round(statistics.mean(sizes)),
                **{f"{name}_events_per_s": round(speed) for name, speed in speeds.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
