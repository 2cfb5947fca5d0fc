"""The client as others install it: what it imports, what it names, what it ships."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import headwater_client
from tests.clients.pytest_runs import ROOT, environment

FOLDER = ROOT / "clients" / "headwater_client"
PROJECT = tomllib.loads((ROOT / "clients" / "pyproject.toml").read_text())["project"]
ROOMS = ("stream", "consumers", "state", "models", "local", "evaluation")
# Of a distribution to what it is imported as.
IMPORTED = {
    **{"aiokafka": {"aiokafka"}, "kafka-python": {"kafka"}, "redis": {"redis"}},
    **{"pydantic": {"pydantic", "pydantic_core"}, "pytest": {"pytest"}},
}


def imports_of(path: Path) -> set[str]:
    """Return the top-level packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.partition(".")[0] for name in found}


def named(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~ ]", each)[0] for each in requirements}


def test_it_imports_its_dependencies_and_nothing_else() -> None:
    wanted = named(PROJECT["dependencies"])
    assert wanted == {"aiokafka", "kafka-python", "pydantic", "redis"}
    allowed = set().union(*(IMPORTED[name] for name in wanted))
    used = set()
    for path in FOLDER.rglob("*.py"):
        others = imports_of(path) - sys.stdlib_module_names - {"headwater_client"}
        extra = IMPORTED["pytest"] if path.name == "testing.py" else set()
        assert others <= allowed | extra, path
        used |= others
    assert used == allowed | IMPORTED["pytest"]
    assert named(PROJECT["optional-dependencies"]["testing"]) == {"pytest"}


def test_the_engine_does_not_know_it() -> None:
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert "headwater_client" not in imports_of(path), path


def test_every_public_name_is_there() -> None:
    assert sorted(headwater_client.__all__) == headwater_client.__all__
    for name in headwater_client.__all__:
        assert getattr(headwater_client, name).__name__ == name
        assert name in dir(headwater_client)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(headwater_client, "EventConsumer")


def test_a_reader_loads_no_kafka_library_and_warnings_are_no_obstacle() -> None:
    program = """
import sys
from headwater_client import AsyncRecommendationReader, RecommendationReader
assert "redis" in sys.modules and not {"kafka", "aiokafka"} & set(sys.modules)
from headwater_client import AsyncEventProducer, EventProducer
import headwater_client.testing
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=environment(), check=True)


def test_the_plugin_is_called_as_its_module() -> None:
    (entry,) = PROJECT["entry-points"]["pytest11"].items()
    assert entry == ("headwater_client.testing", "headwater_client.testing")
    assert (FOLDER / "py.typed").is_file()
