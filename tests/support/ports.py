"""TCP ports."""

from __future__ import annotations

import socket

from support.waiting import PATIENCE


def free_port() -> int:
    """Return a TCP port that was free a moment ago. If a server can report its port, bind port 0 instead."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def port_open(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        return client.connect_ex((host, port)) == 0
