"""A SOCKS5 proxy (RFC 1928) without authentication."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CONNECT, IPV4, NAME = 1, 1, 3


class Handler(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        _, methods = self.rfile.read(2)
        self.rfile.read(methods)
        self.wfile.write(b"\x05\x00")  # no authentication
        _, command, _, kind = self.rfile.read(4)
        assert command == CONNECT
        if kind == NAME:
            host = self.rfile.read(self.rfile.read(1)[0]).decode()
        else:
            assert kind == IPV4
            host = socket.inet_ntoa(self.rfile.read(4))
        port = int.from_bytes(self.rfile.read(2))
        self.server.targets.append(f"{host}:{port}")
        # Every name is one of this machine.
        with socket.create_connection(("127.0.0.1", port)) as target:
            self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
            threading.Thread(target=pump, args=(self.connection, target), daemon=True).start()
            pump(target, self.connection)


class Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.targets: list[str] = []
        self.url = f"socks5://127.0.0.1:{self.server_address[1]}"


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def socks_proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
