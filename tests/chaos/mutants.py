"""Checks the checker: bugs planted one by one, each of which some test must notice.

``python -m tests.chaos.mutants`` (``make chaos-mutants``) runs each mutant in a process of its
own, prints one line per mutant and exits with 1 when one survives. A mutant is a switch inside the
simulated worker (``simulated_worker.BUGS``), or a patch of the engine's own code while it runs;
nothing on disk changes. It is caught by a history of the simulation, or by named tests, which pass
without it (``make test`` runs them).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings

import consumers  # noqa: F401  (first: it points numba at the cache of these sources)
from consumers import sink, sink_scripts
from state.admission import REJECTED
from state.event_ids import EventIds, expire_event_ids
from state.frame_columns import FrameColumns
from state.user_partition import UserPartition
from stream import frames
from tests.chaos.simulated_world import BUGS, Violation
from tests.chaos.simulation import Simulation

_MAX_SEEDS = 300
_TIMEOUT_S = 300
CAUGHT, SURVIVED, BROKEN = 0, 1, 2
_PYTEST = (  # hypothesis was imported before pytest could rewrite it.
    *("-x", "-q", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One planted bug.

    Attributes:
        name: In words.
        plant: Puts it into this process; None where the simulation has a switch of that name.
        tests: Who must notice; empty for the histories of the simulation.
    """

    name: str
    plant: Callable[[], None] | None = None
    tests: tuple[str, ...] = ()


def _before_apply(act: Callable[[UserPartition, dict[str, Any]], None]) -> None:
    """Do something to a user partition before each of its folds."""
    apply = UserPartition.apply

    def mutant(self: UserPartition, **columns: Any) -> Any:
        act(self, columns)
        return apply(self, **columns)

    UserPartition.apply = mutant  # type: ignore[method-assign]


def _judge_lateness_per_batch() -> None:
    def act(users: UserPartition, columns: dict[str, Any]) -> None:
        newest_ms = columns["timestamps_ms"].max(initial=0)
        users._tables.stream_time_ms[0] = max(users.stream_time_ms, newest_ms)

    _before_apply(act)


def _expire_by_the_wall_clock() -> None:
    def act(users: UserPartition, _: dict[str, Any]) -> None:
        horizon_ms = int(time.time() * 1_000) - 86_400_000
        expire_event_ids(users._tables.event_ids.columns, horizon_ms)

    _before_apply(act)


def _count_again() -> None:
    def act(users: UserPartition, columns: dict[str, Any]) -> None:
        below = np.count_nonzero(columns["rejected_offsets"] < users.next_offset)
        users._tables.counters[REJECTED] += below

    _before_apply(act)


def _change_event_ids() -> None:
    """Other ids, in the same chains: without them an erase would walk a chain that has no end."""
    restore = EventIds.restore

    def mutant(self: EventIds, arrays: Any) -> None:
        restore(self, {**arrays, "event_hashes": arrays["event_hashes"] ^ np.uint64(1)})

    EventIds.restore = mutant  # type: ignore[method-assign]


def _count_straddling_frames_whole() -> None:
    FrameColumns.above = lambda self, _: self  # type: ignore[method-assign]


def _read_newer_frames() -> None:
    newer = frames._TAG + bytes([frames.VERSION + 1])
    frames._READABLE_MAGICS |= {int.from_bytes(newer, "little")}  # type: ignore[misc]


def _without(line: str) -> Callable[[], None]:
    """Take one line out of the script that writes lists."""

    def plant() -> None:
        assert sink_scripts.WRITE_LIST.count(line) == 1, f"{line!r} is not in the script"
        sink.WRITE_LIST = sink_scripts.WRITE_LIST.replace(line, "")  # type: ignore[misc]

    return plant


_SINK = "tests/consumers/test_sink.py::"
_FORMATS = "tests/stream/test_formats.py::"
_USERS = "tests/state/test_user_partition.py::"
MUTANTS: tuple[Mutant, ...] = (
    *(Mutant(name=name) for name in BUGS),
    Mutant(name="event ids changed at restore", plant=_change_event_ids),
    Mutant(name="event ids expire by the wall clock", plant=_expire_by_the_wall_clock),
    Mutant(name="straddling frames count whole", plant=_count_straddling_frames_whole),
    Mutant(
        name="newer frames read as ours",
        plant=_read_newer_frames,
        tests=(_FORMATS + "test_a_newer_frame_ends_the_worker_and_nothing_of_it_counts",),
    ),
    Mutant(
        name="lateness judged per batch",
        plant=_judge_lateness_per_batch,
        tests=(_USERS + "test_no_cut_and_no_second_reading_changes_a_bit",),
    ),
    Mutant(
        name="rejects counted again when read again",
        plant=_count_again,
        tests=(_USERS + "test_no_cut_and_no_second_reading_changes_a_bit",),
    ),
    Mutant(
        name="lists written without comparing versions",
        plant=_without("  if held > ARGV[1] then return 0 end\n"),
        tests=(_SINK + "test_only_a_newer_version_replaces_a_list",),
    ),
    Mutant(
        name="tombstones ignored",
        plant=_without("  if stone and ARGV[1] < stone then return -1 end\n"),
        tests=(_SINK + "test_an_erased_user_gets_no_list_made_before_the_erase",),
    ),
)


def play(mutant: Mutant) -> tuple[int, str]:
    """Plant a bug into this process; return what came of it, and who noticed."""
    if mutant.plant is not None:
        mutant.plant()
    if mutant.tests:
        return _test(mutant)
    bug = mutant.name if mutant.name in BUGS else None
    for seed in range(_MAX_SEEDS):
        try:
            Simulation(seed, bug=bug).run()
        except Violation as violation:
            return CAUGHT, str(violation).split("; again with")[0]
    return SURVIVED, f"by {_MAX_SEEDS} histories"


def _test(mutant: Mutant) -> tuple[int, str]:
    # The first example that fails is enough: no search for a smaller one.
    settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), database=None)
    settings.load_profile("mutants")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = pytest.main([*_PYTEST, *mutant.tests])
    if code == pytest.ExitCode.TESTS_FAILED:
        return CAUGHT, mutant.tests[0].rsplit("::", 1)[1]
    if code == pytest.ExitCode.OK and " passed" in output.getvalue():
        return SURVIVED, mutant.tests[0]
    return BROKEN, output.getvalue()[-1_500:]  # Skipped, not found, not importable.


def main() -> int:
    """Run every mutant, or the one that is named; 0 when all were caught."""
    parser = argparse.ArgumentParser(description="Planted bugs, each of which must be caught.")
    parser.add_argument("--only", choices=[each.name for each in MUTANTS], default=None)
    options = parser.parse_args()
    if options.only:
        (mutant,) = (each for each in MUTANTS if each.name == options.only)
        code, who = play(mutant)
        print(who)
        return code
    num_caught = 0
    for mutant in MUTANTS:
        begin_s = time.monotonic()
        command = [sys.executable, "-m", "tests.chaos.mutants", "--only", mutant.name]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
            code, said = done.returncode, done.stdout.strip() or done.stderr.strip()[-1_500:]
            # Python itself exits with 1 after a traceback: that is no verdict.
            code = BROKEN if not done.stdout.strip() else code
        except subprocess.TimeoutExpired:
            code, said = BROKEN, f"took longer than {_TIMEOUT_S} s"
        word = {CAUGHT: "caught  ", SURVIVED: "SURVIVED"}.get(code, "BROKEN  ")
        num_caught += code == CAUGHT
        seconds = time.monotonic() - begin_s
        print(f"{word}  {mutant.name}: {said} ({seconds:.0f} s)", flush=True)
    print(f"{num_caught} of {len(MUTANTS)} planted bugs caught")
    return int(num_caught < len(MUTANTS))


if __name__ == "__main__":
    sys.exit(main())
