"""Report: one line per scenario for a person, an object for a program, a row for the page."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.scenarios import Scenario
from tests.chaos.verdicts import INVARIANTS, Verdicts

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- chaos table: begin -->", "<!-- chaos table: end -->"


@dataclass
class Result:
    """What one scenario gave.

    Attributes:
        scenario: The row.
        seed: What its choices were drawn from.
        verdicts: Invariant by invariant.
        figures: The scenario's own.
        failure: Why it could not be played to its end; "" where it was.
        skipped: What it needs and is not there; "" where it was played.
        recovery_s: From a fault to the first accepted write of the partitions that it hit: most.
        replayed: Records read again after restarts.
        stale_s: Longest time that an accepted event was not in its user's list.
        memory_mb: Most of one worker.
        accepted: Events that Kafka acknowledged.
        exits: Workers that ended by themselves, with their reasons.
        seconds: Duration.
        broke_off: Why it broke off when it was played first; "" where it was played once.
    """

    scenario: Scenario
    seed: int
    verdicts: Verdicts = field(default_factory=Verdicts)
    figures: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    skipped: str = ""
    recovery_s: float | None = None
    replayed: int = 0
    stale_s: float = 0.0
    memory_mb: float = 0.0
    accepted: int = 0
    exits: list[str] = field(default_factory=list)
    seconds: float = 0.0
    broke_off: str = ""

    @property
    def is_good(self) -> bool:
        """Whether everything that was asked holds."""
        return not self.failure and self.verdicts.holds

    @property
    def has_broken_off(self) -> bool:
        """Whether it was not played to its end, and nothing was seen that does not hold."""
        return bool(self.failure) and self.verdicts.holds

    def as_json(self) -> dict[str, Any]:
        """Return everything as one object."""
        return {
            "number": self.scenario.number,
            "name": self.scenario.name,
            "seed": self.seed,
            "is_good": self.is_good,
            "failure": self.failure,
            "skipped": self.skipped,
            "broke_off": self.broke_off,
            "invariants": self.verdicts.wrong,
            "wrong_keys": self.verdicts.wrong_keys,
            "lost": self.verdicts.lost,
            "catch_up_s": _rounded(self.verdicts.catch_up_s),
            "recovery_s": _rounded(self.recovery_s),
            "replayed": self.replayed,
            "stale_s_max": _rounded(self.stale_s),
            "memory_mb": round(self.memory_mb),
            "accepted": self.accepted,
            "exits": self.exits,
            "seconds": _rounded(self.seconds),
            "figures": self.figures,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _marks(verdicts: Verdicts) -> str:
    """Return a sign per invariant: + holds, ! does not, . was not asked.

    In fives, so that an eye finds the ninth.
    """
    signs = [
        "." if name not in verdicts.wrong else "!" if verdicts.wrong[name] else "+"
        for name in INVARIANTS
    ]
    return "".join(signs[:5]) + " " + "".join(signs[5:10]) + " " + "".join(signs[10:])


def _shown(value: object, unit: str = "") -> str:
    if value is None:
        return "-"
    return (f"{value:.1f}" if isinstance(value, float) else str(value)) + unit


def line(result: Result) -> str:
    """Return the scenario's line; reasons follow on lines of their own."""
    verdicts = result.verdicts
    if result.skipped:
        return f"skip {result.scenario.number:>2} {result.scenario.name:<28} {result.skipped}"
    figures = " ".join(f"{name}={_shown(value)}" for name, value in result.figures.items())
    text = (
        f"{'ok  ' if result.is_good else 'FAIL'} {result.scenario.number:>2} "
        f"{result.scenario.name:<28} {_marks(verdicts)}  recovery {_shown(result.recovery_s, ' s')}"
        f"  replayed {result.replayed}  stale {result.stale_s:.1f} s  wrong keys "
        f"{_shown(verdicts.wrong_keys)}  lost {_shown(verdicts.lost)}  memory "
        f"{result.memory_mb:.0f} MB  {figures}  [{result.seconds:.0f} s, seed {result.seed}]"
    )
    reasons = [f"     {name}: {why}" for name, why in verdicts.wrong.items() if why]
    if result.failure:
        reasons.append(f"     {result.failure}")
    return "\n".join([text, *reasons])


_HEAD = (
    "| # | fault | invariants I1 to I11 | recovery s | replayed | stale s, most | wrong keys "
    "| lost | memory MB | figures | seed | commit | machine |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def row(result: Result, *, commit: str, machine: str) -> str:
    """Return the scenario's row of docs/reliability.md."""
    figures = ", ".join(
        f"{name.replace('_', ' ')} {_shown(value)}" for name, value in result.figures.items()
    )
    cells = [
        result.scenario.number,
        result.scenario.name,
        f"{'holds' if result.is_good else '**fails**'} `{_marks(result.verdicts)}`",
        _shown(result.recovery_s),
        result.replayed,
        f"{result.stale_s:.1f}",
        _shown(result.verdicts.wrong_keys),
        _shown(result.verdicts.lost),
        f"{result.memory_mb:.0f}",
        figures,
        result.seed,
        commit,
        machine,
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def put_row(page: Path, new: str) -> None:
    """Put a row between the two marks of a page, in place of one of the same scenario."""
    before, rest = page.read_text().split(BEGIN)
    table, after = rest.split(END)
    rows = {_key(each): each for each in table.strip().splitlines()[len(_HEAD) :]}
    rows[_key(new)] = new
    whole = "\n".join([*_HEAD, *(rows[key] for key in sorted(rows))])
    page.write_text(f"{before}{BEGIN}\n{whole}\n{END}{after}")


def _key(text: str) -> tuple[int, str]:
    """Return (number, name) of a row."""
    number, name = text.split(" | ")[:2]
    return int(number.removeprefix("| ")), name


def commit_of_checkout() -> str:
    """Return the short commit id, with a plus where files differ from it; "unknown" without git."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=9", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout.strip() or "unknown"
