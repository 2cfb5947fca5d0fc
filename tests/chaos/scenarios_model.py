"""Scenario 14: networks that cannot be used, or give no numbers, swapped in under load."""

from __future__ import annotations

import json
import math
import re
import shutil
import urllib.request
from pathlib import Path

import numpy as np

from models.weights import NetworkWeights, load_weights, save_weights
from tests.chaos.scenarios import Figures, scenario
from tests.chaos.world import ROOT, Slot, World
from tests.integration.workers import until

_DEMO = ROOT / "models" / "demo_weights"


def _scaled(weights: NetworkWeights, factor: float, trained_on: str) -> NetworkWeights:
    """Return other weights of the same shapes; a huge factor makes scores that are no numbers."""
    tensors = {
        name: np.clip(each.astype(np.float64) * factor, -3e38, 3e38).astype(np.float32)
        for name, each in weights.tensors.items()
    }
    return NetworkWeights(
        config=weights.config,
        tensors=tensors,
        head_weights=weights.head_weights,
        trained_on=trained_on,
    )


def _failures(slot: Slot) -> int:
    """Return how many batches fusion ranked because the network failed."""
    with urllib.request.urlopen(f"{slot.worker.health}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found = re.findall(r"^headwater_model_failures_total ([0-9.e+]+)$", text, re.MULTILINE)
    return int(float(found[0])) if found else 0


def _bad_lists(world: World) -> int:
    """Return how many lists in Redis hold a score that is no number."""
    redis, bad = world.deployment.redis, 0
    for key in redis.scan_iter("rec:*"):
        items = json.loads(redis.hget(key, "items") or b"[]")
        bad += not all(math.isfinite(each["score"]) for each in items)
    return bad


def _refuse(world: World, slot: Slot, folder: Path, name: str, spoil: str) -> None:
    """Put a spoilt copy of the weights there, and wait until the worker says no."""
    good = next(_DEMO.glob("*.json"))
    manifest = json.loads(good.read_text())
    tensors = (_DEMO / manifest["file"]).read_bytes()
    manifest["file"] = f"{name}.safetensors"
    if spoil == "cut":
        tensors = tensors[: world.random.randrange(len(tensors))]
    elif spoil == "bit":
        at = world.random.randrange(len(tensors))
        tensors = tensors[:at] + bytes([tensors[at] ^ 1]) + tensors[at + 1 :]
    else:
        shapes = manifest["shapes"]
        first = sorted(shapes)[0]
        shapes[first] = [each + 1 for each in shapes[first]]
    before = slot.worker.log.count("new weights cannot be used")
    (folder / f"{name}.safetensors").write_bytes(tensors)
    (folder / f"{name}.json").write_text(json.dumps(manifest))
    until(lambda: slot.worker.log.count("new weights cannot be used") > before, f"{spoil}: refused")


@scenario(14, "weights cut, changed, no numbers")
def bad_weights(world: World) -> Figures:
    folder = world.deployment.folder / "weights"
    shutil.copytree(_DEMO, folder)
    (slot,) = world.start_workers(1, RANKING__WEIGHTS=folder)
    world.start_load(150)
    world.wait_durable(200)
    for number, spoil in enumerate(("cut", "bit", "shape")):
        _refuse(world, slot, folder, f"spoilt-{number}", spoil)
    demo = load_weights(next(_DEMO.glob("*.json")))
    save_weights(_scaled(demo, 1e30, "huge"), folder)
    until(lambda: _failures(slot) >= 5, "fusion ranks in the network's place")
    failures = _failures(slot)
    bad = _bad_lists(world)
    save_weights(_scaled(demo, 1.0001, "good again"), folder)
    until(lambda: slot.worker.log.count("swapped weights") >= 2, "good weights are taken")
    world.wait_durable(100)
    bad += _bad_lists(world)
    assert not bad, f"{bad} lists hold scores that are no numbers"
    world.heal()
    return {"refused": 3, "batches_ranked_by_fusion": failures, "bad_writes": bad}
