"""Options of a Kafka library: ours, on which the promises rest, and the application's own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from headwater_client.errors import InvalidAddress

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def joined(ours: Mapping[str, Any], client_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return both; what we set cannot be set otherwise.

    Raises:
        InvalidAddress: Both name the same option.
    """
    twice = ", ".join(sorted(ours.keys() & client_options.keys()))
    if twice:
        message = (
            f"client_options: expected options that the producer does not set itself, got {twice}: "
            f"use the producer's own arguments, or leave it out"
        )
        raise InvalidAddress(message)
    return {**ours, **client_options}
