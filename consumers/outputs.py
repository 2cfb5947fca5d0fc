"""What a command will write: whether it can be, asked before minutes of work and not after."""

from __future__ import annotations

import os
from pathlib import Path

from stream.errors import ConfigurationError


def check_file(option: str, path: Path) -> None:
    """Raise ConfigurationError where a file could not be written.

    Args:
        option: Name of the option that names the file, for the message.
        path: The file; one that is there will be replaced or changed.
    """
    if path.is_dir():
        message = f"{option}: expected a file to write, got the folder {path}"
        raise ConfigurationError(message)
    if not path.parent.is_dir():
        message = f"{option}: expected a folder for {path}, found none at {path.parent}: make it"
        raise ConfigurationError(message)
    _check_rights(option, path if path.exists() else path.parent)


def check_folder(option: str, path: Path) -> None:
    """Raise ConfigurationError where a folder could not be made or written into."""
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir():
        message = f"{option}: expected a folder, {there} is a file: name another place"
        raise ConfigurationError(message)
    _check_rights(option, there)


def _check_rights(option: str, path: Path) -> None:
    if not os.access(path, os.W_OK):
        message = f"{option}: expected the right to write to {path}, found none"
        raise ConfigurationError(message)
