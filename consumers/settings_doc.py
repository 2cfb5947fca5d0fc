"""Writes ``docs/configuration.md`` from the settings: ``python -m consumers.settings_doc``.

A test fails when the page and the settings differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import PurePath
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stream.settings import Settings

_HEAD = """# Configuration

Every setting of Headwater, read once at start from the environment: prefix `HEADWATER_`, groups
joined with `__`, in capitals (`HEADWATER_USERS__MAX_HISTORY=100`). Lists are JSON. The commands
`evaluate`, `train`, `replay`, `explain` and `inspect` take the same names as
`--set users.max_history=100`.

This page is written by `python -m consumers.settings_doc > docs/configuration.md`; a test keeps it
true. Bounds on memory are worked out in `docs/decisions/`.
"""


def _bounds(field: FieldInfo) -> str:
    parts = []
    for each in field.metadata:
        for kind, sign in ((Ge, "≥"), (Gt, ">"), (Le, "≤"), (Lt, "<")):
            if isinstance(each, kind):
                parts.append(f"{sign} {getattr(each, kind.__name__.lower())}")
    return ", ".join(parts) or "–"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if isinstance(value, PurePath):
        return "`~/.local/state/headwater`"
    if value is None:
        return "none"
    return f"`{json.dumps(value)}`"


def _rows(prefix: str, model: type[BaseModel]) -> list[str]:
    lines = ["| setting | default | bound | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            continue
        lines.append(
            f"| `{prefix}{name.upper()}` | {_default(field)} | {_bounds(field)} "
            f"| {field.description} |"
        )
    return lines


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD, "## General", "", *_rows("HEADWATER_", Settings), ""]
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            title = (group.__doc__ or name).strip().rstrip(".")
            parts += [f"## {title}", "", *_rows(f"HEADWATER_{name.upper()}__", group), ""]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
