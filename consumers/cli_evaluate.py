"""The command ``evaluate``: how good the lists of a source or ranker are on a log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from consumers.cli_data import ItemsOption, JsonFlag, LimitOption, SetOption
from consumers.console import say
from consumers.evaluation_report import print_evaluation
from consumers.evaluations import RANKERS, Evaluation, Plan, evaluate_log, one_of
from consumers.log_plans import LogPlan, read_log_plans, short_name
from consumers.outputs import check_file
from evaluation.plots import PlotError, check_plot, plot_curves
from evaluation.quality_table import markdown_page, write_table
from stream.candidates import SOURCES
from stream.errors import ConfigurationError

_ALL = "all"
RepeatsOption = Annotated[
    str | None,
    typer.Option(
        help="allow or exclude consumed items; a data set knows its own.",
        autocompletion=lambda: ["allow", "exclude"],
    ),
]
LogsArgument = Annotated[
    list[str], typer.Argument(metavar="LOG", help="Wire logs, or data sets' folders.")
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option(
        help=f"A source alone: {', '.join(SOURCES)}; or all. May be repeated.",
        autocompletion=lambda: [*SOURCES, _ALL],
    ),
]
RankerOption = Annotated[
    list[str] | None,
    typer.Option(
        help=f"A ranker over all sources: {', '.join(RANKERS)}; or all.",
        autocompletion=lambda: [*RANKERS, _ALL],
    ),
]
CompareOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Sources or rankers to compare with the first one, user by user.",
        autocompletion=lambda: [*SOURCES, *RANKERS],
    ),
]
WarmupOption = Annotated[
    float | None,
    typer.Option(min=0.0, max=0.99, help="Share of the stream that is only learned; 0.2."),
]
WarmupHoursOption = Annotated[
    float | None, typer.Option(min=0.0, help="Hours of event time only learned, beside; 0.")
]
EveryOption = Annotated[int | None, typer.Option(min=1, help="Test every K-th event; 1.")]
LiveOption = Annotated[
    bool | None,
    typer.Option(
        "--live/--no-live",
        help="Also report with neighbours read without delay; done for one contender.",
    ),
]
ResamplesOption = Annotated[int, typer.Option(min=100, help="Samples of users to compare by.")]
PlotOption = Annotated[Path | None, typer.Option(help="Learning curves by decile, as PNG.")]
TableOption = Annotated[
    Path | None, typer.Option(help="Markdown page: a row per log and contender goes into it.")
]
PerLogOption = Annotated[
    Path | None,
    typer.Option(help="TOML: per log how much is tested, and settings tuned for it, beside."),
]


def evaluate(
    logs: LogsArgument,
    source: SourceOption = None,
    ranker: RankerOption = None,
    compare: CompareOption = None,
    warmup: WarmupOption = None,
    warmup_hours: WarmupHoursOption = None,
    every: EveryOption = None,
    repeats: RepeatsOption = None,
    live: LiveOption = None,
    items: ItemsOption = None,
    limit: LimitOption = None,
    resamples: ResamplesOption = 1000,
    plot: PlotOption = None,
    table: TableOption = None,
    per_log: PerLogOption = None,
    overrides: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Test-then-learn over logs: full ranking of one or more sources and rankers, side by side.

    Example: `headwater evaluate ml-100k --source all --ranker all --plot curves.png`

    Example: `headwater evaluate log.jsonl --compare trending --compare fusion --json`
    """
    names = _contenders(source or (), ranker or (), compare or ())
    _check_paths(logs, items, plot, table)
    plan = Plan(
        names=names,
        compared=tuple(dict.fromkeys(compare)) if compare else names,
        warmup=warmup,
        warmup_hours=warmup_hours,
        every=every,
        repeats=repeats,
        live=len(names) == 1 and len(logs) == 1 if live is None else live,
        items=items,
        limit=limit,
        overrides=tuple(overrides or ()),
        resamples=resamples,
    )
    plans = read_log_plans(per_log) if per_log else {}
    found = _evaluate(logs, plan, plans, table, as_json=as_json)
    if plot is not None:
        _draw(found, plot)
    if as_json:
        one = found[0].as_json()
        many = {"logs": [each.as_json() for each in found]}
        typer.echo(json.dumps(one if len(found) == 1 else many))


def _check_paths(
    logs: Sequence[str], items: str | None, plot: Path | None, table: Path | None
) -> None:
    """Refuse what could only fail at the end of a long run."""
    if items is not None and len(logs) > 1:
        message = f"--items: expected one log with an items log, got {len(logs)} logs"
        raise ConfigurationError(message)
    if plot is not None:
        _check_plot(plot)
    if table is not None:
        check_file("--table", table)


def _draw(found: list[Evaluation], plot: Path) -> None:
    curves = {
        name: {run["what"]: run["by_decile"] for run in each.runs}
        for name, each in zip(_names(found), found, strict=True)
    }
    plot_curves(curves, plot)
    say(f"curves: {plot}")


def _evaluate(
    logs: Sequence[str],
    plan: Plan,
    plans: Mapping[str, LogPlan],
    table: Path | None,
    *,
    as_json: bool,
) -> list[Evaluation]:
    """Evaluate log after log; what is done is shown and kept, for a later one may fail."""
    found: list[Evaluation] = []
    for log in logs:
        own = plans.get(short_name(log), LogPlan())
        common = replace(plan, every=plan.every or own.every, limit=plan.limit or own.limit)
        asked = [(common, False)]
        if own.tuned:
            overrides = (*plan.overrides, *own.tuned)
            asked.append((replace(common, overrides=overrides), True))
        for each, is_tuned in asked:
            found.append(replace(evaluate_log(log, each), is_tuned=is_tuned))
            if not as_json:
                print_evaluation(found[-1])
            if table is not None:
                _write_table(table, found)
    return found


def _contenders(
    sources: Sequence[str], rankers: Sequence[str], compared: Sequence[str]
) -> tuple[str, ...]:
    """Return the names, once each, in the order in which they were given."""
    names: list[str] = []
    for option, given, choices in (
        ("--source", sources, SOURCES),
        ("--ranker", rankers, RANKERS),
        ("--compare", compared, (*SOURCES, *RANKERS)),
    ):
        for name in given:
            if name == _ALL and option != "--compare":
                names += choices
            else:
                one_of(option, name, choices)
                names.append(name)
    if len(set(compared)) == 1:
        message = f"--compare: expected two or more names, got {compared[0]} alone"
        raise ConfigurationError(message)
    return tuple(dict.fromkeys(names)) or ("fusion",)


def _names(found: Sequence[Evaluation]) -> list[str]:
    """Return the logs' names without where they lie, unless two are then alike."""
    short = {each.log: short_name(each.log) for each in found}
    are_distinct = len(set(short.values())) == len(short)
    return [
        (short[each.log] if are_distinct else each.log) + (", tuned" if each.is_tuned else "")
        for each in found
    ]


def _check_plot(path: Path) -> None:
    try:
        check_plot(path)
    except PlotError as error:
        raise ConfigurationError(str(error)) from error


def _write_table(path: Path, found: Sequence[Evaluation]) -> None:
    plain: list[tuple[str, dict[str, Any]]] = []
    tuned: list[tuple[str, dict[str, Any]]] = []
    for name, each in zip(_names(found), found, strict=True):
        rows = tuned if each.is_tuned else plain
        rows += [(f"{name}{_tested(each)}", run) for run in each.runs]
    try:
        write_table(path, markdown_page(plain, tuned))
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _tested(found: Evaluation) -> str:
    """Return what a table says of a log that is not tested whole."""
    limit, every = found.protocol["limit"], found.protocol["every"]
    first = f", first {limit:,} events" if limit is not None else ""
    return first if every == 1 else f"{first}, 1 in {every}"
