"""What a Kafka library is given: addresses, our options, and the application's own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from headwater_client.errors import InvalidAddress

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
_MAX_PORT = 65_535
# A name or an IPv4 address, or an IPv6 address in brackets; the port may be left out.
_SERVER = re.compile(r"([^\s:/@\[\]]+|\[[^\s/@\[\]]+\])(:\d{1,5})?")


def servers_of(kafka: str) -> list[str]:
    """Return each server of ``host:port[,host:port]``.

    >>> servers_of("kafka-1:9092, [::1]:9093")
    ['kafka-1:9092', '[::1]:9093']

    Raises:
        InvalidAddress: One is no address; a library would look for it until its time is over.
    """
    servers = [each.strip() for each in kafka.split(",")] if isinstance(kafka, str) else [""]
    if not all(map(_is_server, servers)):
        message = (
            "kafka: expected host:port[,host:port], something else came: leave out a scheme (as "
            "http://) and put an IPv6 address into brackets"
        )
        raise InvalidAddress(message)
    return servers


def _is_server(text: str) -> bool:
    found = _SERVER.fullmatch(text)
    return found is not None and 0 < int((found[2] or ":1")[1:]) <= _MAX_PORT


def check_numbers(**named: float) -> None:
    """Refuse arguments that are no finite numbers, by their name.

    >>> check_numbers(linger_ms=5, timeout_ms=0.5)

    Raises:
        InvalidAddress: One is none, or is below 0.
    """
    for name, value in named.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            message = f"{name}: expected a number, got {type(value).__name__}"
        elif not (value >= 0 and math.isfinite(value)):
            message = f"{name}: expected a number from 0 on, got {value}"
        else:
            continue
        raise InvalidAddress(message)


def check_count(**named: int) -> None:
    """Refuse arguments that are no whole numbers from 1 on, by their name.

    >>> check_count(max_connections=5)

    Raises:
        InvalidAddress: One is none.
    """
    for name, value in named.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            message = f"{name}: expected a whole number from 1 on, got {value!r}"
            raise InvalidAddress(message)


def joined(ours: Mapping[str, Any], client_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return both; what we set cannot be set otherwise.

    Raises:
        InvalidAddress: Both name the same option, or these are no options.
    """
    is_mapping = isinstance(client_options, Mapping)
    if not is_mapping or not all(isinstance(name, str) for name in client_options):
        came = "other keys" if is_mapping else type(client_options).__name__
        message = f"client_options: expected a mapping of names to values, got {came}"
        raise InvalidAddress(message)
    twice = ", ".join(sorted(ours.keys() & client_options.keys()))
    if twice:
        message = (
            f"client_options: expected options that are not set here, got {twice}: use the "
            f"arguments of the producer or reader, or leave it out"
        )
        raise InvalidAddress(message)
    return {**ours, **client_options}
