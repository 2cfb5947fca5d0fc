"""`evaluate` as a person calls it: the summary's contract, several contenders, pages, errors."""

import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumers.commands import app
from stream.candidates import SOURCES
from stream.errors import ConfigurationError
from tests.consumers.small_worlds import SMALL, make_world, run
from tests.evaluation.data_set_samples import write

MEANS = ["tested", "hr@10", "ndcg@10", "mrr@20", "hr@20"]
CONTRACT = [
    "events", "duplicate", *MEANS, "known_targets", "new_to_user", "users_with_history",
    "by_decile", "cold_users", "new_items", "beyond_accuracy", "live_neighbours", "settings",
    "seconds",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


def test_the_summary_keeps_its_contract(world: Path) -> None:
    summary = run("evaluate", world / "log.jsonl", "--items", world / "items.jsonl", *SMALL)
    assert sorted(name for name in summary if name in CONTRACT) == sorted(CONTRACT)
    assert summary["tested"] >= summary["known_targets"]["tested"]
    assert summary["known_targets"]["tested"] >= summary["new_to_user"]["tested"]
    for group in ("known_targets", "new_to_user", "users_with_history", "live_neighbours"):
        assert [name for name in summary[group] if name in MEANS] == MEANS
    assert len(summary["by_decile"]) == 10
    assert summary["settings"] == {
        "users.max_users": 1000, "catalogue.dim": 16, "ranking.repeats": "allow",
    }  # fmt: skip


def test_sources_alone_and_every_kth(world: Path) -> None:
    every = run("evaluate", world / "log.jsonl", "--source", "recent", "--every", 4, *SMALL)
    each = run("evaluate", world / "log.jsonl", "--source", "recent", "--no-live", *SMALL)
    assert every["what"] == "recent"
    assert 4 * every["tested"] == pytest.approx(each["tested"], abs=40)
    assert "live_neighbours" not in each
    excluded = run(
        "evaluate", world / "log.jsonl", "--source", "recent", "--repeats", "exclude", *SMALL
    )
    assert excluded["hr@20"] == 0.0 < each["hr@20"]
    asked = ["evaluate", world / "log.jsonl", "--source", "trending", "--no-live", *SMALL]
    by_option = run(*asked, "--repeats", "exclude")
    by_setting = run(*asked, "--set", "ranking.repeats=exclude")
    assert by_setting["protocol"] == by_option["protocol"]
    assert by_setting["hr@10"] == by_option["hr@10"]


def test_a_repeated_event_is_neither_tested_nor_learned_again(world: Path, tmp_path: Path) -> None:
    kept: dict[str, str] = {}
    for line in (world / "log.jsonl").read_text().splitlines():
        kept.setdefault(json.loads(line)["event_id"], line)
    once = tmp_path / "once.jsonl"
    once.write_text("".join(f"{line}\n" for line in kept.values()))
    # Sent again at once, later, and stamped anew: earlier, and later by as much as is remembered.
    stamped = []
    for place, line in enumerate(kept.values()):
        event = json.loads(line)
        event["ts"] += (-60_000, 86_400_000)[place % 2]
        stamped.append(json.dumps(event))
    again = tmp_path / "again.jsonl"
    lines = [line for line in kept.values() for _ in range(2)] + [*kept.values(), *stamped]
    again.write_text("".join(f"{line}\n" for line in lines))
    contenders = ("--source", "recent", "--source", "trending", *SMALL)
    expected, found = run("evaluate", once, *contenders), run("evaluate", again, *contenders)
    assert (expected["events"], expected["duplicate"]) == (len(kept), 0)
    assert (found["events"], found["duplicate"]) == (len(kept), 3 * len(kept))
    assert found["runs"] == expected["runs"]


def test_repeats_left_out_are_said(world: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = (world / "log.jsonl").read_text().splitlines(keepends=True)[:50]
    log.write_text("".join([*lines, lines[0]]))
    result = CliRunner().invoke(app, ["evaluate", str(log), "--source", "recent", *SMALL])
    assert "1 of 51 events left out" in result.stderr
    assert "counts it once\n" in result.stderr
    first = json.loads(lines[0])
    erase = {"event_id": "gone", "type": "erase", "user_id": first["user_id"], "ts": first["ts"]}
    log.write_text("".join([*lines, f"{json.dumps(erase)}\n", lines[0]]))
    result = CliRunner().invoke(app, ["evaluate", str(log), "--source", "recent", *SMALL])
    # The engine has forgotten that user's ids with the rest (state/event_ids.py).
    assert "1 of 52 events left out" in result.stderr
    assert "counts it once, but anew after an erase\n" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--source", "nothing"], "--source: expected one of cooccurrence, .*got 'nothing'"),
        (["--ranker", "oracle"], "--ranker: expected one of fusion, network; got 'oracle'"),
        (["--compare", "recent"], "--compare: expected two or more names, got recent alone"),
        (["--compare", "recent", "--compare", "all"], "--compare: expected one of coocc.*'all'"),
        (["--plot", "curves.gif"], r"--plot: expected a file that ends in \.png"),
        (["--plot", "nowhere/curves.png"], "--plot: expected a folder"),
        (["--repeats", "some"], "--repeats: expected one of allow, exclude"),
        (["--set", "users.nothing=1"], "--set expects NAME=VALUE"),
        (["--items", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_wrong_arguments_are_refused(world: Path, arguments: list[str], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        CliRunner().invoke(
            app, ["evaluate", str(world / "log.jsonl"), *arguments], catch_exceptions=False
        )


def test_several_contenders_are_runs_and_compared_with_the_first(world: Path) -> None:
    log = world / "log.jsonl"
    found = run(
        "evaluate", log, "--compare", "trending", "--compare", "recent", "--ranker", "fusion",
        *SMALL,
    )  # fmt: skip
    assert [each["what"] for each in found["runs"]] == ["fusion", "trending", "recent"]
    (compared,) = found["comparisons"]
    assert (compared["first"], compared["second"]) == ("trending", "recent")
    first, second = found["runs"][1:]
    assert compared["hr@10"]["difference"] == pytest.approx(
        second["hr@10"] - first["hr@10"], abs=2e-6
    )
    assert compared["ndcg@10"]["low"] <= compared["ndcg@10"]["difference"]
    assert "live_neighbours" not in first
    alone = run("evaluate", log, "--source", "recent", "--no-live", *SMALL)
    assert {name: alone[name] for name in second} == second


def test_all_names_every_source_and_ranker(world: Path) -> None:
    found = run(
        "evaluate", world / "log.jsonl", "--source", "all", "--ranker", "all", "--every", 9, *SMALL
    )
    assert [each["what"] for each in found["runs"]] == [*SOURCES, "fusion", "network"]
    assert len(found["comparisons"]) == len(SOURCES) + 1
    assert len({each["tested"] for each in found["runs"]}) == 1


def test_a_person_gets_tables_and_a_page(world: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    arguments = ["evaluate", str(world / "log.jsonl"), "--source", "recent", "--ranker", "fusion"]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, [*arguments, "--every", "5", "--table", str(page), *SMALL], catch_exceptions=False
    )
    assert result.exit_code == 0
    for words in ("all targets", "parts of the tests", "by tenth", "what the lists are like",
                  "second minus first", "fusion - recent", "settings: "):  # fmt: skip
        assert words in result.stdout, words
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert [row.split("|")[3].strip() for row in rows[2:]] == ["recent", "fusion"]
    page.write_text("Words without marks.\n")
    with pytest.raises(ConfigurationError, match="--table: expected .* or to have the lines"):
        CliRunner().invoke(
            app, [*arguments, "--every", "50", "--table", str(page), *SMALL],
            catch_exceptions=False,
        )  # fmt: skip


def test_a_plot_is_drawn_or_what_is_missing_is_said(world: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curves.png"
    arguments = ("evaluate", world / "log.jsonl", "--every", 50, "--plot", picture, *SMALL)
    if importlib.util.find_spec("matplotlib") is None:
        with pytest.raises(ConfigurationError, match="--plot needs matplotlib: pip install"):
            run(*arguments)
        return
    run(*arguments)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_several_logs_are_evaluated_one_after_the_other(world: Path, tmp_path: Path) -> None:
    ratings = "".join(
        f"{user}\t{item}\t5\t{user * 9 + item}\n" for user in range(9) for item in range(9)
    )
    folder = write(tmp_path / "ml", {"u.data": ratings})
    found = run("evaluate", world / "log.jsonl", folder, "--source", "trending", *SMALL)
    first, second = found["logs"]
    assert first["what"] == second["what"] == "trending"
    # The data set knows that its users do not repeat.
    assert first["settings"]["ranking.repeats"] == "allow"
    assert "ranking.repeats" not in second["settings"]
    with pytest.raises(ConfigurationError, match="--items: expected one log"):
        run("evaluate", folder, folder, "--items", "x.jsonl")


def test_a_log_may_have_settings_of_its_own(world: Path, tmp_path: Path) -> None:
    plans, page = tmp_path / "logs.toml", tmp_path / "page.md"
    plans.write_text("[log]\nlimit = 200\nevery = 3\n[log.tuned]\nranking.fusion_k = 5\n[absent]\n")
    found = run(
        "evaluate", world / "log.jsonl", "--ranker", "fusion", "--per-log", plans,
        "--table", page, *SMALL,
    )  # fmt: skip
    plain, tuned = found["logs"]
    assert [plain["tuned"], tuned["tuned"]] == [False, True]
    assert plain["events"] + plain["duplicate"] == plain["protocol"]["limit"] == 200
    assert plain["protocol"]["every"] == 3
    assert plain["protocol"] == tuned["protocol"]
    assert tuned["settings"] == {**plain["settings"], "ranking.fusion_k": 5.0}
    lines = page.read_text().splitlines()
    assert lines.index("**One set of settings for all logs**") < lines.index(
        "**Settings tuned for each log**"
    )
    assert [line.split("|")[1].strip() for line in lines if "fusion" in line] == [
        "log, first 200 events, 1 in 3", "log, tuned, first 200 events, 1 in 3",
    ]  # fmt: skip
    # The command's own words come first.
    found = run(
        "evaluate", world / "log.jsonl", "--per-log", plans, "--every", 9, "--limit", 100, *SMALL
    )
    taken = [(each["protocol"]["limit"], each["protocol"]["every"]) for each in found["logs"]]
    assert taken == [(100, 9)] * 2


def test_a_data_set_knows_where_its_tests_begin(tmp_path: Path) -> None:
    shown = "".join(
        f"{n}\tU{n % 3}\t11/15/2019 {n % 12 + 1}:00:01 AM\tN1 N2 N3 N4 N5 N6\tN{n % 4}-1\n"
        for n in range(12)
    )
    folder = write(tmp_path, {"behaviors.tsv": shown, "news.tsv": "N1\ta\tb\tT\tx\tu\t[]\t[]\n"})
    found = run("evaluate", folder, "--warmup", 0.1, "--no-live", "--items", folder, *SMALL)
    # 3 users' histories of 6, never tested, and 12 clicks.
    assert (found["events"], found["tested"]) == (30, 12)
    assert found["protocol"] == {
        "warmup": 0.1, "tested_from_ms": 1_573_776_001_000, "every": 1, "limit": None,
        "repeats": "allow",
    }  # fmt: skip


def test_a_log_without_tests_says_why(world: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"expected events to test after .*got none of"):
        run("evaluate", world / "log.jsonl", "--warmup-hours", 1000, "--source", "recent", *SMALL)


def test_a_log_without_events_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("{}\n")
    with pytest.raises(ConfigurationError, match="expected a wire log with events"):
        CliRunner().invoke(app, ["evaluate", str(log)], catch_exceptions=False)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "source", "least"),
    [
        ("ml-100k", "item-cf", 0.05),
        ("article-actions", "cooccurrence", 0.25),
        ("article-actions", "trending", 0.15),
    ],
)
def test_public_logs_are_predicted(
    data_dir_or_skip: Path, name: str, source: str, least: float
) -> None:
    folder = data_dir_or_skip / name
    if not folder.is_dir():
        pytest.skip(f"HEADWATER_TEST_DATA names no folder with {name}")
    summary = run(
        "evaluate", folder, "--source", source, "--limit", 4000, "--no-live",
        "--set", "users.link_ms=31536000000",
    )  # fmt: skip
    assert summary["events"] == 4000
    assert summary["tested"] == 3200
    assert summary["hr@10"] > least
