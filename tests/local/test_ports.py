"""Ports are free when given and lie where no outgoing connection takes them."""

from __future__ import annotations

import socket

from local.ports import LOOPBACK, free_port, is_free


def test_a_free_port_can_be_listened_on() -> None:
    port = free_port()
    assert 20_000 <= port < 32_000
    with socket.create_server((LOOPBACK, port)):
        assert not is_free(port)
    assert is_free(port)
