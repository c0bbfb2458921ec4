"""A proxy between a client and its server, for breaking connections."""

from __future__ import annotations

import select
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from support.waiting import PATIENCE

BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

RESET = struct.pack("ii", 1, 0)

# Seconds until a connection notices that it should break.
TICK = 0.05


class Front:
    """
    Passes every connection on to a port of this machine, until one of these is called:

        with Front(port) as front:
            ... front.url ...
            front.cut()         # reset every connection
            front.freeze()      # keep every connection open, but pass nothing on: the peer has vanished
            front.busy(3)       # reset every connection and answer the next three with 503
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._stopped = threading.Event()
        self._refusals = 0
        self._pairs: list[Pair] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(PATIENCE)
        self._listener.close()
        self.cut()
        for pair in self._pairs:
            pair.thread.join(PATIENCE)

    def cut(self) -> None:
        for pair in self._pairs:
            pair.broken.set()

    def freeze(self) -> None:
        for pair in self._pairs:
            pair.frozen.set()

    def busy(self, times: int) -> None:
        self._refusals = times
        self.cut()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            if not select.select([self._listener], [], [], TICK)[0]:
                continue
            client, _ = self._listener.accept()
            if self._refusals:
                self._refusals -= 1
                refuse(client)
            else:
                self._pairs.append(Pair(client, self._target))


class Pair:
    """One connection of a client, and its connection to the server."""

    def __init__(self, client: socket.socket, target: int) -> None:
        self.broken = threading.Event()
        self.frozen = threading.Event()
        self._client = client
        self._target = target
        self.thread = threading.Thread(target=self._pass_on, daemon=True)
        self.thread.start()

    def _pass_on(self) -> None:
        with self._client as client:
            try:
                with socket.create_connection(("127.0.0.1", self._target)) as server:
                    while not self.broken.is_set() and self._step(client, server):
                        pass
            except OSError:
                self.broken.set()
            if self.broken.is_set():
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def _step(self, client: socket.socket, server: socket.socket) -> bool:
        """Pass on what there is; return whether both sides are still there."""
        if self.frozen.is_set():
            return not self.broken.wait(TICK)
        for side in select.select([client, server], [], [], TICK)[0]:
            data = side.recv(65536)
            if self.frozen.is_set():
                return True
            if not data:
                return False
            (server if side is client else client).sendall(data)
        return True


def refuse(client: socket.socket) -> None:
    with client:
        client.settimeout(PATIENCE)
        try:
            client.recv(65536)
            client.sendall(BUSY)
        except OSError:
            pass  # it left
