"""Free loopback ports that no outgoing connection can take by chance."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"

# Below the range that Linux (32768) and macOS (49152) take outgoing ports from: a server that is
# killed and started again must find its port free, and a client that retries a closed port inside
# the outgoing range can even connect to itself.
_FIRST_PORT = 20_000
_LAST_PORT = 32_000
_MAX_TRIES = 200


def is_free(port: int) -> bool:
    """Say whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set this too, so that connections in TIME_WAIT do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a loopback port on which nothing listens now.

    Raises:
        OSError: No free port among a bounded number of random ones.
    """
    draw = random.SystemRandom()
    for _ in range(_MAX_TRIES):
        port = draw.randrange(_FIRST_PORT, _LAST_PORT)
        if is_free(port):
            return port
    message = (
        f"expected a free port on {LOOPBACK} between {_FIRST_PORT} and {_LAST_PORT}, found none "
        f"in {_MAX_TRIES} tries: end some servers, or name a port"
    )
    raise OSError(message)
