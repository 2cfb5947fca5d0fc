"""Files and functions of the rooms stay small enough to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("stream", "consumers", "state", "models", "local", "evaluation", "clients")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

KERNEL = "a kernel of the hot path: in pieces it is compiled anew and inlined no better"
ARGUMENTS = "half of it and more are its arguments and what they mean"
# Longer functions, each with its reason; what has become short leaves the list.
LONGER = {
    "stream/frame_kernels.py:lay_out": KERNEL,
    "stream/frame_kernels.py:assemble": KERNEL,
    "stream/frame_reading.py:read_rows": KERNEL,
    "stream/list_json.py:_put_float": KERNEL,
    "stream/scanner.py:_scan_record": KERNEL,
    "state/admission.py:admit": KERNEL,
    "state/item_counts.py:add_rows": KERNEL,
    "state/pair_arena.py:add_entry": KERNEL,
    "state/pair_folds.py:add_rows": KERNEL,
    "state/pair_folds.py:_add_row": KERNEL,
    "state/pair_reads.py:top_neighbours": KERNEL,
    "state/user_fold.py:_interact": KERNEL,
    "consumers/record_kernel.py:read_records": KERNEL,
    "stream/frames.py:encode_frames": "arrays with their shapes in, a kernel's arguments out",
    "consumers/faust_app.py:create_app": ARGUMENTS,
    "consumers/produce.py:produce_interactions": ARGUMENTS,
    "consumers/dead_letter_replay.py:replay_letters": ARGUMENTS,
    "consumers/ownership.py:__init__": "one line per argument, and one that keeps it",
    "consumers/aiokafka_private.py:follow_session": "three closures over one coordinator's methods",
}


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def test_no_file_is_long() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in sources()}
    assert [path for path, count in lines.items() if count > MAX_FILE_LINES] == []


def test_no_function_is_long_without_a_reason() -> None:
    """Decorators left out, signature and docstring included."""
    found = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES:
                    found.add(f"{path.relative_to(ROOT).as_posix()}:{node.name}")
    assert found - set(LONGER) == set(), "split it by noun"
    assert set(LONGER) - found == set(), "short by now: take it out of the list"
