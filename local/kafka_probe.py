"""Ask a Kafka broker whether its group coordinator works, in two small requests.

A fresh broker accepts connections before its coordinator is ready; clients then log errors and
back off by the second. This probe is quiet and answers at once. Wire format: Apache Kafka,
"Kafka protocol guide", https://kafka.apache.org/protocol (FindCoordinator v1, OffsetFetch v2).
"""

from __future__ import annotations

import socket
import struct

_FIND_COORDINATOR = 10
_OFFSET_FETCH = 9
_PROBE_GROUP = b"headwater-probe"
# Bound for a reply's length: both replies are below 100 bytes.
_MAX_REPLY_BYTES = 65_536


def is_coordinator_ready(host: str, port: int, *, timeout_s: float = 5.0) -> bool:
    """Say whether the broker's coordinator for a group is there and has loaded its offsets.

    The first call on a fresh broker makes it create its offsets topic.
    """
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            group = struct.pack(">h", len(_PROBE_GROUP)) + _PROBE_GROUP
            found = _ask(connection, _FIND_COORDINATOR, 1, group + b"\0")
            # Reply: throttle_time_ms int32, error_code int16, ...
            if struct.unpack_from(">h", found, 4)[0] != 0:
                return False
            # A null list of topics (-1) asks for all. Reply: topics, error_code int16 last.
            fetched = _ask(connection, _OFFSET_FETCH, 2, group + struct.pack(">i", -1))
            return bool(struct.unpack(">h", fetched[-2:])[0] == 0)
    except (OSError, struct.error):
        return False


def _ask(connection: socket.socket, api_key: int, version: int, body: bytes) -> bytes:
    """Send one request with header v1 and return the reply after its correlation id."""
    client_id = b"headwater-probe"
    request = struct.pack(">hhih", api_key, version, 1, len(client_id)) + client_id + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _read(connection, 4))
    if not 4 <= size <= _MAX_REPLY_BYTES:
        message = f"expected a reply of 4 to {_MAX_REPLY_BYTES} bytes, got a length of {size}"
        raise ConnectionError(message)
    return _read(connection, size)[4:]


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            message = f"expected {size} bytes, the connection ended after {len(data)}"
            raise ConnectionError(message)
        data += piece
    return data
