"""Scenario 18: workers of an older commit and of this one in one group.

Where formats are equal they replace one another in good order, there and back. Where a format's
version grew, workers of the older commit end at the first record that they cannot read, with their
line, until they are replaced; there is no way back but a new group.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import psutil

from stream.frames import VERSION as FRAMES
from tests.chaos.load import Mix
from tests.chaos.scenarios import Figures, scenario
from tests.chaos.versions import OLDER_FRAMES, newer_frames, old_version
from tests.chaos.world import RESTART_S, Slot, World
from tests.integration.workers import OURS, Code, until

# Rejects, erases and copies too: whatever crosses a process crosses versions here. But no unlikes:
# beyond the bound on repeats an older fold makes something else of what follows them
# (docs/decisions/0005-pairs-and-repeats.md), and then no oracle knows the state of both.
MIX = Mix(erases=0.01, bad=0.02, misrouted=0.02, duplicates=0.03, has_unlikes=False)

# Of frames, in versions.OLDER_FRAMES.
_OLDER = 1


def _hand_over(world: World, slot: Slot, code: Code) -> float:
    """Replace a worker by one of another version in good order; return the pause of its users."""
    held = world.partitions_of(slot)
    begin_s = time.monotonic()
    slot.is_expected_to_end = True
    assert slot.worker.stop() == 0, slot.worker.log[-1500:]
    until(lambda: world.lists.first_write_after(begin_s + 0.2, held), "handed over")
    pause_s = world.lists.longest_gap(held, begin_s - 1.0)
    _start(world, slot, code)
    until(lambda: world.partitions_of(slot), "it holds partitions")
    world.wait_durable(100)
    return pause_s


def _start(world: World, slot: Slot, code: Code) -> None:
    """Start a version's worker in a slot, in the place of one that lives or has ended."""
    pid = world.replace(slot, code).wait_ready().pid
    assert Path(psutil.Process(pid).cwd()) == code.folder, "it runs another version's code"


@scenario(18, "rolling upgrade, two versions")
def rolling_versions(world: World) -> Figures:
    """Replace an older commit's workers one by one under load, and go back."""
    old = old_version(world.old)
    slots = world.start_workers(2, code=old)
    world.start_load(200, mix=MIX)
    world.wait_durable(300)
    pauses = [_hand_over(world, slot, OURS) for slot in slots]
    pauses += [_hand_over(world, slot, old) for slot in slots]
    assert not any(slot.exits for slot in slots), [slot.exits for slot in slots]
    world.heal()
    return {
        "old_commit": old.name,
        "replaced": len(pauses),
        "hand_over_pause_s_max": round(max(pauses), 2),
    }


@scenario(18, "rolling upgrade, a worker killed")
def rolling_versions_killed(world: World) -> Figures:
    """Kill -9 amid an upgrade: the new one while the other is old, then the old while one is new.

    Each is started again under its name as what it was, and as the version that follows.
    """
    old = old_version(world.old)
    slots = world.start_workers(2, code=old)
    world.start_load(200, mix=MIX)
    world.wait_durable(300)
    _hand_over(world, slots[0], OURS)
    world.kill_and_restart(slots[0])
    world.wait_durable(100)
    world.kill_and_restart(slots[1])
    world.wait_durable(100)
    with world.counting_replays():
        begin_s = time.monotonic()
        held = world.kill(slots[1])
        time.sleep(RESTART_S)
        restarted_s = time.monotonic()
        _start(world, slots[1], OURS)
        world.note_recovery(begin_s, held, since_s=restarted_s)
    world.wait_durable(100)
    world.heal()
    return {"old_commit": old.name, "kills": 3}


@scenario(18, "rolling upgrade, frames change")
def frames_change(world: World) -> Figures:
    """Replace workers whose frames are of version 1, which have no word for what to do."""
    old = old_version(OLDER_FRAMES)
    figures = _across_formats(world, old, OURS, f"expected HWF version {_OLDER}")
    return {"old_commit": old.name, **figures}


@scenario(18, "rolling upgrade, newer frames")
def newer_frames_come(world: World) -> Figures:
    """Replace this checkout's workers by ones whose frames are of a version more."""
    newer = newer_frames(world.deployment.folder / "newer")
    line = f"found version {FRAMES + 1} .*stop all workers of this version and start the newer one"
    return _across_formats(world, OURS, newer, line)


def _across_formats(world: World, old: Code, new: Code, line: str) -> dict[str, object]:
    """Replace one of two workers; the other ends with a line until it follows.

    Its supervisor starts it again, it ends again, and the new one takes what it held. Amid that
    the new one is killed, so that for a while there are only workers that cannot go on.
    """
    slots = world.start_workers(2, code=old)
    world.start_load(200, mix=MIX)
    world.wait_durable(300)
    begin_s = time.monotonic()
    first, left = slots
    first.is_expected_to_end = True
    assert first.worker.stop() == 0, first.worker.log[-1500:]
    _start(world, first, new)
    until(lambda: len(left.exits) >= 2, "the old worker ends, and once more")
    pause_s = world.lists.longest_gap({0, 1, 2}, begin_s)
    world.kill_and_restart(first)
    _start(world, left, new)
    assert all(re.search(line, end) for end in left.exits), left.exits
    world.wait_durable(200)
    world.heal()
    deployment = world.deployment
    frames = deployment.records(deployment.item_deltas, deployment.partitions)
    versions = Counter(record.value[3] for record in frames)
    assert len(versions) == 2, f"frames of both versions were to be read: {versions}"
    return {
        "old_ended_with_reason": len(left.exits),
        "pause_s_max": round(pause_s, 2),
        "frames_of_the_older": versions[min(versions)],
    }
