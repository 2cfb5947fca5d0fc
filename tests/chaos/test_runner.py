"""The runner's own parts: what it judges can be wrong, and is then said."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis

from local.redis import RedisServer
from state import snapshot
from stream import frames, signals
from tests.chaos import oracle_users
from tests.chaos.judgement import _check_commits, check_letters, judge_never_seen
from tests.chaos.load import PERSON, THING, Accepted, Mix, Sending, events
from tests.chaos.oracle_records import LogRecord, partition_of, read_interaction
from tests.chaos.probes import ListProbe, WorkerProbe, durable_offsets
from tests.chaos.report import BEGIN, END, Result, line, put_row, row
from tests.chaos.run import chosen, parse
from tests.chaos.scenarios import LONG, QUICK, NotPlayable, Scenario, all_scenarios
from tests.chaos.scenarios_versions import MIX
from tests.chaos.verdicts import INVARIANTS, Verdicts
from tests.chaos.versions import (
    EQUAL_FORMATS,
    FORMATS,
    OLDER_FRAMES,
    formats_of,
    old_version,
    text_of,
)
from tests.chaos.world import ROOT, World


def scenario() -> Scenario:
    return Scenario(number=2, name="broker killed", tier=QUICK, play=lambda world: None)


def world_with(worker: SimpleNamespace) -> SimpleNamespace:
    """Make what is judged of a world in which nothing went wrong."""
    return SimpleNamespace(
        scenario=scenario(),
        commits=SimpleNamespace(ahead=[]),
        offsets=SimpleNamespace(ahead=[]),
        lists=SimpleNamespace(went_back=[]),
        deployment=SimpleNamespace(workers=[worker]),
        kafka=SimpleNamespace(is_running=True, pid=1),
        _kafka_pid=1,
    )


def test_names_are_unique_and_the_quick_tier_is_whole() -> None:
    names = [each.name for each in all_scenarios()]
    assert len(set(names)) == len(names)
    assert {2, 4, 5, 7, 8, 10, 15, 17} <= {each.number for each in chosen(parse([]))}
    assert {each.number for each in chosen(parse(["--all"]))} > {1, 3, 6, 9, 14, 16, 18, 19, 20}
    assert [each.number for each in chosen(parse(["--only", "17"]))] == [17]


def test_an_hour_is_played_by_name_alone_and_a_name_of_none_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [each.name for each in chosen(parse(["--only", "20"]))] == ["soak, random faults"]
    named = chosen(parse(["--only", "soak, random faults, 1 h"]))
    assert [each.tier for each in named] == [LONG]
    assert chosen(parse(["--all", "--list"])) == all_scenarios()
    for word in ("broker kiled", "21", ""):
        with pytest.raises(SystemExit, match="2"):
            parse(["--only", "17", "--only", word])
        assert f"came {word!r}" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["wrong_keys", "lost", "invariant"])
def test_what_does_not_hold_is_no_success(field: str) -> None:
    verdicts = Verdicts()
    for name in INVARIANTS:
        verdicts.take(name, "")
    result = Result(scenario(), seed=1, verdicts=verdicts)
    assert result.is_good and line(result).startswith("ok")
    if field == "invariant":
        verdicts.take("I4", ["u1: 5 to 4"])
    else:
        setattr(verdicts, field, 1)
    assert not result.is_good and line(result).startswith("FAIL")


def test_only_what_broke_off_without_a_violation_is_played_again() -> None:
    result = Result(scenario(), seed=1)
    assert not result.has_broken_off
    result.failure = "AssertionError (until): not within 120 s: a list is written again"
    assert result.has_broken_off and not result.is_good
    result.verdicts.take("I4", ["u1: 5 to 4"])
    assert not result.has_broken_off and not result.is_good


@pytest.mark.parametrize("seen", ["I2", "I4", "I10", "I11"])
def test_what_must_never_be_seen_counts_of_what_broke_off_too(seen: str) -> None:
    worker = ended(0 if seen == "I11" else None, f"{PERSON}7" if seen == "I10" else "")
    world = world_with(worker)
    world.commits.ahead = ["users/0: 5 > 4"] if seen == "I2" else []
    world.lists.went_back = ["u1: 5 to 4"] if seen == "I4" else []
    result = Result(scenario(), seed=1, failure="AssertionError (until): not within 120 s")
    judge_never_seen(cast(World, world), result.verdicts)
    assert [name for name, why in result.verdicts.wrong.items() if why] == [seen]
    assert not result.has_broken_off
    world.scenario = replace(world.scenario, may_lose_snapshots=True, may_lose_lists=True)
    verdicts = Verdicts()
    judge_never_seen(cast(World, world), verdicts)
    assert [*verdicts.wrong] == ["I10", "I11"]


def ended(
    code: int | None,
    log: str = "",
    *,
    signals: tuple[int, ...] = (),
    may_crash: bool = False,
    health: str = "http://127.0.0.1:1",
    folder: Path = ROOT,
) -> SimpleNamespace:
    """Make a worker that has ended; None as its code lives."""
    return SimpleNamespace(
        log_path=Path("worker-0.log"),
        log=log,
        process=SimpleNamespace(poll=lambda: code),
        signals=set(signals),
        may_crash=may_crash,
        health=health,
        folder=folder,
    )


_WORKED = "2026-11-23 00:00:00,000 INFO consumers.app: catalogue caught up, 7 items\n"
_LOUD = "2026-11-23 00:00:00,000 ERROR aiokafka.conn: Unable to update metadata from [0]\n"
_LINE = "headwater: expected Kafka at localhost:9 to answer, got nothing: is it running?\n"
_TRACE = "Traceback (most recent call last):\n  ...\nKeyError: 7\n"


@pytest.mark.parametrize(
    ("worker", "why"),
    [
        (ended(None, _LOUD), ""),
        (ended(0, _WORKED, signals=(signal.SIGTERM,)), ""),
        (ended(1, _WORKED + _LOUD + _LINE), ""),
        (ended(3, "headwater: the worker ends: refresh has not moved for 60 s\n"), ""),
        (ended(-9, _WORKED, signals=(signal.SIGKILL,)), ""),
        (ended(-9, _WORKED, may_crash=True), ""),
        (ended(1, _TRACE + _LINE, folder=Path("older")), ""),
        (ended(1, _LINE + _TRACE, folder=Path("older")), "its last line is no reason"),
        (ended(1, _WORKED + _LOUD), "its last line is no reason"),
        (ended(1, _LINE + _WORKED), "its last line is no reason"),
        (ended(1, _WORKED + "headwater: TimeoutError\n"), "its last line is no reason"),
        (ended(1, _WORKED + _TRACE), "its last line is no reason"),
        (ended(1, _WORKED + _TRACE + _LINE), "logged a traceback"),
        (ended(None, _TRACE + _WORKED), "logged a traceback"),
        (ended(0, _TRACE + _WORKED, signals=(signal.SIGTERM,)), "logged a traceback"),
        (ended(-9, _TRACE, signals=(signal.SIGKILL,)), "logged a traceback"),
        (ended(None, _TRACE, folder=Path("older")), ""),
        (ended(-15, _WORKED, signals=(signal.SIGTERM,)), "SIGTERM, which asks and does not end"),
        (ended(-15, "", signals=(signal.SIGTERM,), health=""), ""),
        (ended(-15, _WORKED), "SIGTERM, which nobody sent"),
        (ended(1, ""), "its last line is no reason"),
        (ended(7, _LINE), "ended with code 7"),
        (ended(0, _WORKED + _LINE), "nobody asked it to"),
        (ended(0, _WORKED, signals=(signal.SIGSTOP,)), "nobody asked it to"),
        (ended(-9, _WORKED + _LOUD), "SIGKILL, which nobody sent"),
        (ended(-11, _WORKED, signals=(signal.SIGKILL,), may_crash=True), "SIGSEGV"),
    ],
)
def test_a_worker_that_ended_without_its_one_line_is_no_success(
    worker: SimpleNamespace, why: str
) -> None:
    verdicts = Verdicts()
    judge_never_seen(cast(World, world_with(worker)), verdicts)
    found = verdicts.wrong["I11"]
    assert why in found if why else not found, found


@pytest.mark.parametrize(
    ("samples", "committed", "why"),
    [
        (9, {"a/0": 7, "d/0": 1}, ""),
        (9, {"a/0": 7}, r"nothing was ever committed of \['d/0'\]"),
        (9, {"a/0": 7, "d/0": -1}, r"nothing was ever committed of \['d/0'\]"),
        (0, {"a/0": 7, "d/0": 1}, "never asked"),
    ],
)
def test_a_group_that_never_commits_or_was_never_asked_is_no_success(
    samples: int, committed: dict[str, int], why: str
) -> None:
    world = world_with(ended(0, signals=(signal.SIGTERM,)))
    world.commits.samples = samples
    world.deployment = SimpleNamespace(
        interactions="a",
        item_deltas="d",
        committed=lambda: committed,
        ends=lambda topic: {"a": {"a/0": 9, "a/1": 0}, "d": {"d/0": 9}}[topic],
    )
    if not why:
        _check_commits(cast(World, world))
        return
    with pytest.raises(AssertionError, match=why):
        _check_commits(cast(World, world))


_PLACES = {(0, 5), (1, 7)}


@pytest.mark.parametrize(
    ("letters", "is_calm", "why"),
    [
        ({(0, 5): [b"a"], (1, 7): [b"b"]}, True, ""),
        ({(0, 5): [b"a", b"a"], (1, 7): [b"b"]}, False, ""),
        ({(0, 5): [b"a", b"a"], (1, 7): [b"b"]}, True, r"written twice.*\(0, 5\)"),
        ({(0, 5): [b"a", b"c"], (1, 7): [b"b"]}, False, r"copies .* differ.*\(0, 5\)"),
        ({(0, 5): [b"a"]}, False, r"missing \[\(1, 7\)\]"),
        ({(0, 5): [b"a"], (1, 7): [b"b"], (2, 0): [b"d"]}, False, r"extra \[\(2, 0\)\]"),
    ],
)
def test_a_dead_letter_stands_once_and_its_copies_are_equal(
    letters: dict[tuple[int, int], list[bytes]], is_calm: bool, why: str
) -> None:
    if not why:
        check_letters(letters, _PLACES, is_calm=is_calm)
        return
    with pytest.raises(AssertionError, match=why):
        check_letters(letters, _PLACES, is_calm=is_calm)


@pytest.mark.parametrize(
    ("worker", "is_calm"),
    [
        (ended(None), True),
        (ended(0, signals=(signal.SIGTERM,)), True),
        (ended(1, _LINE), False),
        (ended(None, signals=(signal.SIGSTOP,)), False),
        (ended(-9, may_crash=True), False),
    ],
)
def test_only_where_nothing_broke_a_letter_may_not_come_twice(
    worker: SimpleNamespace, is_calm: bool
) -> None:
    world = world_with(worker)
    assert World.is_calm(cast(World, world)) is is_calm
    world.kafka.pid = 2
    assert not World.is_calm(cast(World, world)), "another broker process"


def test_letters_of_two_versions_are_equal_in_what_both_say() -> None:
    older, newer, other = b'{"reason": "a"}', b'{"reason": "a", "id": "t"}', b'{"reason": "b"}'
    places = {(0, 5)}
    check_letters({(0, 5): [older, newer]}, places, is_calm=False, is_mixed=True)
    for copies, is_mixed in (([older, newer], False), ([older, newer, other], True)):
        with pytest.raises(AssertionError, match="differ"):
            check_letters({(0, 5): copies}, places, is_calm=False, is_mixed=is_mixed)


def test_a_version_that_is_not_there_skips_with_a_reason() -> None:
    with pytest.raises(NotPlayable, match="expected a git history that knows no-such-commit"):
        old_version("no-such-commit")
    skipped = Result(scenario(), seed=1, skipped="expected a git history")
    assert line(skipped).startswith("skip") and "expected a git history" in line(skipped)


def test_the_older_commits_have_the_formats_that_their_scenarios_need() -> None:
    """Who raises a version moves EQUAL_FORMATS to the first commit that writes it."""
    try:
        equal, older = formats_of(EQUAL_FORMATS), formats_of(OLDER_FRAMES)
    except NotPlayable as reason:
        pytest.skip(str(reason))
    assert equal == dict(
        zip(FORMATS, (frames.VERSION, signals.VERSION, snapshot.SCHEMA_VERSION), strict=True)
    )
    assert older[FORMATS[0]] == 1 in frames.READABLE


def test_what_scenario_18_sends_is_folded_alike_by_the_older_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who changes what a fold makes of it moves EQUAL_FORMATS, or leaves it out of the load."""
    path = "tests/chaos/oracle_users.py"
    older = ModuleType("older_oracle")
    monkeypatch.setitem(sys.modules, older.__name__, older)
    try:
        exec(compile(text_of(EQUAL_FORMATS, path), path, "exec"), older.__dict__)
    except NotPlayable as reason:
        pytest.skip(str(reason))
    sent = events(1, replace(MIX, bad=0.0))
    log = [LogRecord(0, offset, next(sent).value) for offset in range(3000)]

    def rows(oracle: Any) -> list[dict[str, Any]]:
        for record in log:
            oracle.apply(record.offset, read_interaction(record))
        return [asdict(row) for row in oracle.rows]

    ours = rows(oracle_users.UserPartitionOracle(0, oracle_users.UserRules()))
    assert ours == rows(older.UserPartitionOracle(0, older.UserRules()))


def test_a_violation_stays_whatever_is_found_later() -> None:
    verdicts = Verdicts()
    verdicts.take("I1", "3 keys differ")
    verdicts.take("I1", "")
    assert not verdicts.holds


def test_a_row_takes_the_place_of_its_last_one_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    result = Result(scenario(), seed=7, figures={"down_s": 1.25})
    for seed in (3, 7):
        put_row(page, row(replace(result, seed=seed), commit="abc", machine="2 cores"))
    text = page.read_text()
    put_row(page, "| 1 | another | holds |")
    assert page.read_text().index("| 1 | another") < page.read_text().index("| 2 | broker killed")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "| 3 |" not in text
    assert "| 2 | broker killed |" in text and "down s 1.2" in text and "| 7 |" in text


def test_a_seed_is_a_log_and_shares_are_as_asked() -> None:
    mix = Mix(duplicates=0.3, bad=0.2, misrouted=0.1, erases=0.05, shuffled=8)

    def log(seed: int) -> list[Sending]:
        made = events(seed, mix)
        return [next(made) for _ in range(800)]

    def shape(sendings: list[Sending]) -> list[tuple[object, ...]]:
        return [(each.user, each.is_erase, each.key, each.partition) for each in sendings]

    assert shape(log(1)) == shape(log(1)) != shape(log(2))
    found = log(1)
    bad = sum(read_interaction(LogRecord(0, 0, each.value)) is None for each in found)
    assert 80 < bad < 240
    assert sum(each.partition is not None for each in found) > 20
    assert sum(each.is_erase for each in found) > 5
    assert len({each.value for each in found}) < 700


@pytest.mark.redis
def test_a_list_that_goes_back_and_one_that_stays_behind_are_seen(
    redis_server: Callable[..., RedisServer],
) -> None:
    server = redis_server()
    probe = ListProbe(server.url, num_partitions=3)
    ours = Accepted(Sending(b"{}", user="u1"), partition=0, offset=5, at_s=0.0)
    probe.expect(ours)
    with Redis.from_url(server.url) as redis:
        for offset in (5, 6, 4):
            redis.hset("rec:{u1}", "version", f"000000-{offset:016d}-000000-1700000000000")
            probe.look()
            if offset == 5:
                assert probe.stale_s_max > 0, "offset 5 is in no list yet"
        for key in ("rec:trending", f"sim:{{{THING}-0}}"):
            for offset in (5, 5, 6, 4):
                redis.hset(key, "version", f"000000-{offset:016d}-000000-1700000000000")
                probe.look()
        redis.delete("rec:{u1}")
        probe.look()
        server.kill()
        probe.look()
    assert (probe.gone, probe.erased) == ({"u1"}, set())
    probe.expect(replace(ours, sending=Sending(b'{"type": "erase", "user_id": "u1"}')))
    assert probe.erased == {"u1"}
    went_back = [each.split(": ")[0] for each in probe.went_back]
    assert went_back == ["u1", "rec:trending", f"sim:{{{THING}-0}}"]
    assert (probe.reads, probe.failed_reads) == (13, 1)
    home = partition_of(b"u1", 3)
    assert probe.first_write_after(0.0, {home}) is not None
    assert probe.first_write_after(0.0, {0, 1, 2} - {home}) is None
    probe.close()


def test_two_owners_of_a_partition_are_timed_only_while_there_are_two() -> None:
    probe = WorkerProbe(lambda: [])
    probe._note_doubles({"t/0"})
    threading.Event().wait(0.01)
    probe._note_doubles({"t/0"})
    longest = probe.two_owners_s
    assert longest >= 0.01
    probe._note_doubles(set())
    probe._note_doubles({"t/0"})
    assert probe.two_owners_s == longest


def test_durable_is_what_names_of_snapshots_say(tmp_path: Path) -> None:
    for name in (
        "users.00001.0000000000000042.0000000001.snapshot",
        "users.00001.0000000000000007.0000000009.snapshot",
        "items.00000.0000000000000003.0000000001.snapshot",
        "users.00001.0000000000000099.0000000001.snapshot.0a1b.writing",
    ):
        (tmp_path / name).touch()
    found = durable_offsets(tmp_path, {"users": "interactions", "items": "item-deltas"})
    assert found == {"interactions/1": 42, "item-deltas/0": 3}
