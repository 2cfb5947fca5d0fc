"""The documentation is true: trees, commands, settings, metrics, links and named tests exist."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from consumers import commands_doc, metrics_doc, settings_doc
from consumers.command_samples import SAMPLES
from consumers.commands import app

ROOT = Path(__file__).parents[1]
ROOMS = ("stream", "consumers", "state", "models", "local", "evaluation", "clients")
README = (ROOT / "README.md").read_text()
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "clients/*.md")
    for page in ROOT.glob(pattern)
)
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(text: str) -> Iterator[str]:
    """Yield the content of each fenced block."""
    yield from re.findall(r"^```[a-z]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def tree_files() -> list[str]:
    """Return the paths in the README's tree: names without a final slash, under their folders."""
    tree = next(blocks(README.split("\n## The tree\n")[1]))
    paths, folders = [], [(-1, "")]
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        name = line.split()[0] if line.strip() else "--"
        if name == "--":
            continue
        while folders[-1][0] >= indent:
            folders.pop()
        if name.endswith("/"):
            folders.append((indent, folders[-1][1] + name))
        else:
            assert len(line.split()) > 1, f"{name}: a phrase is missing"
            paths.append(folders[-1][1] + name)
    return paths


def source_files() -> list[str]:
    """Return what the tree has to name: Python files, but for tests that mirror a module."""
    found = []
    for folder in (*ROOMS, "benchmarks", "docs", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            mirrored = re.sub(r"^tests/(.*?)test_(\w+\.py)$", r"\1\2", name)
            # The client's package lies a folder deeper: its distribution is one of its own.
            mirrored = re.sub(r"^clients/", "clients/headwater_client/", mirrored)
            is_mirror = mirrored != name and (ROOT / mirrored).is_file()
            if path.name != "__init__.py" and not is_mirror:
                found.append(name)
    return found


def table_column(section: str, column: int = 0) -> list[str]:
    """Return the code words in one column of the tables of a README section."""
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    cells = [row[column].strip() for row in rows if len(row) > column]
    return [cell.strip("`") for cell in cells if cell.startswith("`")]


def anchor(heading: str) -> str:
    """Return the anchor that a Markdown page gives to a heading."""
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return words.replace(" ", "-")


def test_the_tree_names_every_source_file() -> None:
    missing = sorted(set(source_files()) - set(tree_files()))
    assert not missing, f"add to the tree in README.md, with a phrase: {', '.join(missing)}"


def test_the_tree_names_every_page() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    assert sorted(pages - set(tree_files())) == []


def test_the_tree_names_nothing_that_is_not_there() -> None:
    named = tree_files()
    assert not [path for path in named if not (ROOT / path).is_file()]
    assert len(named) == len(set(named))


def test_every_command_is_documented_and_no_other() -> None:
    assert sorted(table_column("Commands")) == sorted(COMMANDS)


def test_every_command_has_a_sample_an_example_and_help_for_every_option() -> None:
    commands = commands_doc.all_commands()
    assert sorted(SAMPLES) == sorted(commands), "add it to consumers/command_samples.py"
    for name, command in commands.items():
        assert "Example" in command.help and f"headwater {name}" in command.help.replace("\n", " ")
        assert all(f"headwater {name}" in example for example in SAMPLES[name].examples)
        assert [each.name for each in command.params if not each.help] == [], name


def test_commands_are_what_the_command_line_says() -> None:
    assert (ROOT / "docs/commands.md").read_text() == commands_doc.page(), (
        "run: python -m consumers.commands_doc > docs/commands.md"
    )


@every_page
def test_example_commands_have_these_options(page: Path) -> None:
    text = page.read_text()
    lines = [line for block in blocks(text) for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`([^`\n]*)`", text)]:
        found = re.match(r"(?:[A-Z_]+=\S+ )*headwater ([a-z][a-z-]*)(.*)", line)
        if not found:
            continue
        name, words = found.groups()
        assert name in COMMANDS, line
        command = COMMANDS[name]
        for word in words.split():  # Of a group, the command in it.
            command = getattr(command, "commands", {}).get(word, command)
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        assert set(re.findall(r"(?<=\s)--[a-z-]+", words)) <= known, line


@every_page
def test_make_targets_and_modules_in_examples_exist(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in [*blocks(text), *re.findall(r"`([^`\n]*)`", text)]:
        assert set(re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)) <= targets, block
        modules = re.findall(r"python -m ((?:consumers|benchmarks)\.\w+)", block)
        scripts = re.findall(r"python (\w\S+\.py)\b", block)
        for path in [*(module.replace(".", "/") + ".py" for module in modules), *scripts]:
            assert (ROOT / path).is_file(), f"{path} does not exist"


def test_configuration_is_what_the_settings_say() -> None:
    expected = settings_doc.page()
    assert (ROOT / "docs/configuration.md").read_text() == expected, (
        "run: python -m consumers.settings_doc > docs/configuration.md"
    )


def test_metrics_are_what_is_declared() -> None:
    expected = metrics_doc.page()
    assert (ROOT / "docs/metrics.md").read_text() == expected, (
        "run: python -m consumers.metrics_doc > docs/metrics.md"
    )


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    wanted += [each for extra in project["optional-dependencies"].values() for each in extra]
    names = {re.split(r"[\[<>=~ ]", each)[0] for each in wanted} - {project["name"]}
    section = "Why each dependency is there"
    assert sorted(table_column(section) + table_column(section, 1)) == sorted(names)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} does not exist"
        if fragment:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert fragment in map(anchor, headings), f"{target}: no such heading"


@every_page
def test_named_tests_exist(page: Path) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page.read_text()):
        assert (ROOT / path).is_file(), f"{path} does not exist"
        defined = rf"^(?:async )?def {name}\("
        assert re.search(defined, (ROOT / path).read_text(), re.MULTILINE), f"{path}: no {name}"


def test_each_law_names_its_tests() -> None:
    laws = ARCHITECTURE.read_text().split("\n## Laws\n")[1].split("\n## ")[0]
    parts = re.split(r"^### (\d+)\. ", laws, flags=re.MULTILINE)[1:]
    assert [int(number) for number in parts[::2]] == list(range(1, 11))
    for number, text in zip(parts[::2], parts[1::2], strict=True):
        assert re.search(r"`tests/\S+::test_\w+`", text), f"law {number} names no test"


def test_the_index_names_every_decision() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    linked = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert sorted(linked) == pages, "add the page to docs/decisions/README.md"


def test_every_benchmark_is_explained() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text()
    for path in (ROOT / "benchmarks").glob("bench_*.py"):
        assert f"python benchmarks/{path.name}" in text, f"{path.name}: no command in its README"
