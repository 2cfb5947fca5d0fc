"""Writes ``docs/commands.md`` from the command line: ``python -m consumers.commands_doc``.

Options and their meaning come from the commands themselves, examples and answers from
``consumers.command_samples``. A test fails when the page and the commands differ.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import typer.main

from consumers.command_samples import SAMPLES, VERDICTS, Sample
from consumers.commands import app

_HEAD = """# Commands

Every command of `headwater` with its options, an example and the shape of its output. Figures go
to stdout; with `--json` they are one JSON object on its last line (shown here over several lines,
lists shortened to one entry); logs, progress (a bar; where stderr is no terminal, a line per tenth
of the work and at least one a minute) and failures go to stderr. Exit codes: 0 done, 1 something
was lost or a server was unreachable, 2 bad arguments or settings, 130 ended by Ctrl-C.

Before a command stands `--log-level` (DEBUG, INFO, WARNING or ERROR); `headwater --version` prints
the version. Kafka's and Redis' addresses come from `HEADWATER_KAFKA` and `HEADWATER_REDIS` where no
option names them; every other setting is in [configuration.md](configuration.md).

`headwater --install-completion` makes the shell complete commands and options;
`headwater --show-completion` prints what it would install.

This page is written by `python -m consumers.commands_doc > docs/commands.md`; a test keeps it true.
"""
_WIDTH = 100


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    for name, command in all_commands().items():
        parts += _section(name, command, SAMPLES[name])
    return "\n".join(parts)


def all_commands() -> dict[str, Any]:
    """Return every command by its words; of a group the commands in it."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        if inner is None:
            found[name] = command
        else:
            found |= {f"{name} {word}": each for word, each in inner.items()}
    return found


def _section(name: str, command: Any, sample: Sample) -> list[str]:
    """Return the lines about one command."""
    summary = command.help.split("\n\n")[0].replace("\n", " ")
    words = " ".join(_usage_of(each) for each in command.params if not _is_option(each))
    lines = [f"## {name}", "", summary, "", "```sh", f"headwater {name} {words}".rstrip()]
    lines += [*sample.examples, "```", ""]
    lines += ["| argument or option | default | meaning |", "|---|---|---|"]
    lines += [_row(each) for each in command.params]
    lines += ["", sample.says, ""]
    if sample.answer is not None:
        lines += ["```json", pretty(sample.answer), "```", ""]
    for title, answer in sample.others.items():
        lines += [f"`{title}`:", "", "```json", pretty(answer), "```", ""]
    if name == "explain":
        lines += ["| verdict | meaning |", "|---|---|"]
        lines += [f"| `{word}` | {meaning} |" for word, meaning in VERDICTS.items()]
        lines.append("")
    return lines


def _is_option(parameter: Any) -> bool:
    return bool(parameter.opts[0].startswith("-"))


def _usage_of(parameter: Any) -> str:
    word = parameter.metavar + ("..." if parameter.nargs == -1 else "")
    return word if parameter.required else f"[{word}]"


def _row(parameter: Any) -> str:
    """Return one line of a command's table."""
    names = [*parameter.opts, *parameter.secondary_opts] if _is_option(parameter) else []
    shown = " / ".join(f"`{name}`" for name in names) or f"`{_usage_of(parameter)}`"
    default = parameter.default
    text = "–" if default in (None, False) or callable(default) else f"`{json.dumps(default)}`"
    if parameter.required:
        text = "required"
    return f"| {shown} | {text} | {(parameter.help or '').replace('|', '/')} |"


def pretty(value: Any, indent: int = 0, used: int = 0) -> str:
    """Return JSON that breaks only where a line would be too long.

    >>> pretty({"a": [1, 2]})
    '{"a": [1, 2]}'
    """
    text = json.dumps(value, ensure_ascii=False)
    if len(text) + indent + used + 1 <= _WIDTH or not isinstance(value, dict | list):
        return text
    inner = indent + 2
    if isinstance(value, list):
        entries = [pretty(each, inner) for each in value]
        marks = "[]"
    else:
        entries = [
            f"{json.dumps(name)}: {pretty(each, inner, len(name) + 4)}"
            for name, each in value.items()
        ]
        marks = "{}"
    body = ",\n".join(" " * inner + entry for entry in entries)
    return f"{marks[0]}\n{body}\n{' ' * indent}{marks[1]}"


if __name__ == "__main__":
    sys.stdout.write(page())
