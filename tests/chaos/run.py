"""The chaos runner: real servers, real workers, real signals; one line per scenario.

``python -m tests.chaos.run`` plays the quick tier, ``--all`` every scenario, ``--only 4`` or
``--only "broker killed"`` some. Each scenario has topics, a group, a folder and a Redis of its own;
they share one Apache Kafka. Exit code 1 where anything that was asked does not hold. ``--seed``
reproduces the choices of a line that names it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from consumers.warm_up import compile_kernels
from local.kafka import KafkaServer
from local.redis import RedisServer
from tests.chaos.judgement import judge_never_seen, judge_samples, settle
from tests.chaos.report import Result, commit_of_checkout, line, put_row, row
from tests.chaos.scenarios import FULL, LONG, QUICK, NotPlayable, Scenario, all_scenarios
from tests.chaos.versions import EQUAL_FORMATS
from tests.chaos.world import World

# Every write is in the append-only file before its answer, so that a kill forgets nothing that was
# acknowledged. By default (everysec) the file waits up to two seconds for a slow disk's fsync, and
# what a kill takes then is no fault of ours: seen once in an hour of random faults, as lists that
# went back by a quarter of a second.
_REDIS = {"appendfsync": "no"}


def play(
    scenario: Scenario, *, seed: int, kafka: KafkaServer, folder: Path, old: str = EQUAL_FORMATS
) -> Result:
    """Play one scenario; whatever fails is in the result, and everything it started is ended."""
    result, begin_s = Result(scenario, seed), time.monotonic()
    redis = RedisServer(folder / "redis", properties={**_REDIS, **scenario.redis})
    world = None
    try:
        redis.start()
        world = World(scenario, seed=seed, kafka=kafka, redis=redis, folder=folder, old=old)
        result.verdicts = world.verdicts
        result.figures = dict(scenario.play(world) or {})
        if scenario.settles and not result.verdicts.is_settled:
            settle(world, result.verdicts)
        world.stop_probes()
        judge_samples(world, result.verdicts)
    except NotPlayable as error:
        result.skipped = str(error)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        result.failure = f"{type(error).__name__} ({last.name}): {str(error)[-1500:]}"
        traceback.print_exc()
    finally:
        if world is not None:
            _take_figures(result, world)
            world.close()
        redis.kill()
    result.seconds = time.monotonic() - begin_s
    return result


def _take_figures(result: Result, world: World) -> None:
    if result.failure:  # Its other samples were not judged.
        judge_never_seen(world, result.verdicts)
    result.recovery_s = max(world.recoveries_s, default=None)
    result.replayed = world.replayed
    result.stale_s = world.lists.stale_s_max
    result.memory_mb = world.offsets.memory_mb
    result.accepted = sum(len(load.accepted) for load in world.loads)
    result.exits = [end for slot in world.slots for end in slot.exits]


@contextmanager
def broker(folder: Path, shared: KafkaServer, scenario: Scenario) -> Iterator[KafkaServer]:
    """Give the shared Kafka, running, or the scenario's own."""
    if scenario.broker is None:
        shared.start()  # No-op while it runs.
        yield shared
        return
    own = KafkaServer(folder / "kafka", properties=dict(scenario.broker))
    try:
        own.start()
        yield own
    finally:
        own.kill()


def play_in(
    place: Path, scenario: Scenario, *, seed: int, shared: KafkaServer, old: str = EQUAL_FORMATS
) -> Result:
    """Play one scenario in a folder of its own."""
    place.mkdir(parents=True)
    with broker(place, shared, scenario) as kafka:
        return play(scenario, seed=seed, kafka=kafka, folder=place, old=old)


def chosen(arguments: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios to play, or to name; those that take long are played by name alone."""
    found = all_scenarios()
    if arguments.only:
        return [each for each in found if any(_is_meant(each, word) for word in arguments.only)]
    tiers = (QUICK, FULL) if arguments.all else (QUICK,)
    return [s for s in found if s.tier in tiers or (arguments.all and arguments.list)]


def _is_meant(scenario: Scenario, word: str) -> bool:
    is_by_number = scenario.tier != LONG and word == str(scenario.number)
    return is_by_number or word == scenario.name


def machine() -> str:
    """Say how large this machine is."""
    return f"{os.cpu_count()} cores"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every scenario, not the quick tier")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="a number (of those that take long only a name is taken) or a name; repeats",
    )
    parser.add_argument("--seed", type=int, help="as a line names it; drawn where not given")
    parser.add_argument(
        "--again",
        action="store_true",
        help="play the first that broke off once more; what was seen not to hold stays",
    )
    parser.add_argument(
        "--old",
        metavar="REF",
        default=EQUAL_FORMATS,
        help="commit of this checkout that scenario 18 rolls from, and back to; of equal formats",
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--table", type=Path, help="page whose rows are written anew")
    parser.add_argument("--machine", default=machine(), help="said above the table")
    parser.add_argument("--keep", type=Path, help="folder for logs and data, which then stay")
    parser.add_argument("--list", action="store_true", help="name them and end; --all: every one")
    arguments = parser.parse_args(words)
    for word in arguments.only:
        if not any(_is_meant(each, word) for each in all_scenarios()):
            parser.error(f"expected a scenario's number or name, came {word!r}: --all --list")
    return arguments


def main(words: Sequence[str]) -> int:
    """Play; return the exit code."""
    arguments = parse(words)
    scenarios = chosen(arguments)
    if arguments.list:
        for each in scenarios:
            print(f"{each.number:>2} {each.tier:5} {each.name}")
        return 0
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    out = sys.stderr if arguments.json else sys.stdout
    # Before the page is written, which would be a file that differs.
    commit = commit_of_checkout()
    begin_s, results = time.monotonic(), []
    compile_kernels()
    with tempfile.TemporaryDirectory(prefix="headwater-chaos-") as scratch:
        folder = arguments.keep or Path(scratch)
        shared = KafkaServer(folder / "kafka")
        try:
            for index, each in enumerate(scenarios):
                place = folder / f"{each.number:02d}-{index}"
                result = play_in(place, each, seed=seed, shared=shared, old=arguments.old)
                # Two that break off are no accident of the machine.
                is_first = not any(earlier.broke_off for earlier in results)
                if arguments.again and is_first and result.has_broken_off:
                    print(f"{line(result)}: played again", file=out, flush=True)
                    place, why = folder / f"{each.number:02d}-{index}-again", result.failure
                    result = play_in(place, each, seed=seed, shared=shared, old=arguments.old)
                    result.broke_off = why
                results.append(result)
                print(line(result), file=out, flush=True)
                if arguments.table and not result.skipped:
                    put_row(arguments.table, row(result, commit=commit, machine=arguments.machine))
        finally:
            shared.kill()
    seconds = time.monotonic() - begin_s
    failed = [each.scenario.name for each in results if not each.is_good]
    print(f"{len(results) - len(failed)} of {len(results)} hold, {seconds:.0f} s", file=out)
    if arguments.json:
        whole = {"seed": seed, "seconds": round(seconds), "failed": failed}
        print(json.dumps({**whole, "scenarios": [each.as_json() for each in results]}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
