"""Asks a running worker a question over loopback; its health address is all it takes."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode, urlsplit

from consumers.questions import TIMEOUT_S
from stream.errors import (
    ConfigurationError,
    HeadwaterError,
    PartitionElsewhere,
    ServerUnreachable,
)

# Longer than the worker's own bound, so that its answer says why.
_MARGIN_S = 5.0
# HTTP's status for a question that another one can answer.
_MISDIRECTED = 421
# No proxy of the environment between two processes of one machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def health_of(option: str | None, port: int) -> str:
    """Return the worker's health address, from the option or the setting.

    Raises:
        ConfigurationError: Neither names one, or what is given is no URL.
    """
    url = option or (f"http://127.0.0.1:{port}" if port else None)
    if url is None:
        message = (
            "expected a worker's health address in --health or HEADWATER_WORKER__HEALTH_PORT "
            "(`headwater up` and `headwater worker --json` print it), or a log in --log; got none"
        )
        raise ConfigurationError(message)
    try:
        parts = urlsplit(url)
        is_url = parts.scheme == "http" and parts.hostname is not None and parts.port != 0
    except ValueError:  # A port that is no number or none there can be, half an IPv6 address.
        is_url = False
    if not is_url or any(each.isspace() for each in url):
        message = f"--health: expected a URL like http://127.0.0.1:8080, got {url!r}"
        raise ConfigurationError(message)
    return url.rstrip("/")


def ask_worker(health: str, path: str, **query: str) -> dict[str, Any]:
    """Ask one question and return the answer.

    Raises:
        ServerUnreachable: No worker answers there.
        PartitionElsewhere: Another worker holds the partition in question.
        HeadwaterError: The worker cannot answer; says why.
    """
    url = f"{health}{path}?{urlencode(query)}"
    try:
        with _OPENER.open(url, timeout=TIMEOUT_S + _MARGIN_S) as reply:
            found: dict[str, Any] = json.load(reply)
    except urllib.error.HTTPError as error:
        kind = PartitionElsewhere if error.code == _MISDIRECTED else HeadwaterError
        with error:
            raise kind(_reason(error, health)) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        message = (
            f"expected a worker at {health}, it did not answer ({error}): is it running, is this "
            "the health address that it printed?"
        )
        raise ServerUnreachable(message) from error
    return found


def _reason(error: urllib.error.HTTPError, health: str) -> str:
    """Return what the worker said, or that it is none."""
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return (
            f"expected a worker of this version at {health}, it answered {error.code} "
            f"({error.reason}): is it the health address of a worker?"
        )
