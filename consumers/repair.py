"""Repair: an operator's own program mends values, one a line in, one a line out."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from contextlib import suppress

from stream.errors import ConfigurationError

_MAX_TAIL = 500


class Repair:
    """Runs a program once per batch of values.

    A value is one line of its standard input; line breaks inside a value become spaces. It prints
    one line for each: the value as it should have been, or an empty line to leave it.

    Args:
        command: Program and arguments, split as a shell would; no shell runs.
        timeout_s: Bound of one batch.
    """

    def __init__(self, command: str, *, timeout_s: float = 60.0) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            message = f"--through: expected a program with arguments, got {command!r} ({error})"
            raise ConfigurationError(message) from error
        if not self._words:
            message = "--through: expected a program with arguments, got nothing"
            raise ConfigurationError(message)
        self._timeout_s = timeout_s

    async def mend(self, values: Sequence[bytes | None]) -> list[bytes | None]:
        """Return the values as the program wants them; None for those that it leaves.

        Raises:
            ConfigurationError: It cannot be started, fails, takes too long, or answers with
                another number of lines. Nothing of the batch may be used then.
        """
        lines = [b" ".join((value or b"").splitlines()) for value in values]
        process = await self._start()
        try:
            async with asyncio.timeout(self._timeout_s):
                out, said = await process.communicate(b"".join(line + b"\n" for line in lines))
        except TimeoutError as error:
            message = (
                f"--through {self._words[0]}: expected {len(lines)} lines within "
                f"{self._timeout_s:.0f} s, they did not come"
            )
            raise ConfigurationError(message) from error
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        answers = out.removesuffix(b"\n").split(b"\n") if out else []
        if process.returncode != 0 or len(answers) != len(lines):
            tail = said[-_MAX_TAIL:].decode(errors="replace").strip()
            message = (
                f"--through {self._words[0]}: expected {len(lines)} lines and exit code 0, got "
                f"{len(answers)} and {process.returncode}; nothing of this batch was sent. {tail}"
            )
            raise ConfigurationError(message.strip())
        return [answer.removesuffix(b"\r") or None for answer in answers]

    async def _start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(
                *self._words, stdin=pipe, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            message = f"--through: expected a program that can be started, got {error}"
            raise ConfigurationError(message) from error
