"""
The floor: no Python server on uvloop can do less per delivery.

A bare `asyncio.Protocol` that prepares one chunk per publish, framed as ours is (an id, HTTP/1.1
chunked), and writes it to every transport. No routing, no log, no resume, no slow readers: just enough
HTTP to subscribe and publish.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from itertools import count

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"

# A list: iterating over a set, in the order of its hashes, costs a few percent more.
writes: list[Callable[[bytes], None]] = []
offsets = count(1)


class Floor(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.write = transport.write
        self.held = b""

    def data_received(self, data: bytes) -> None:
        self.held += data
        while (end := self.held.find(b"\r\n\r\n")) >= 0:
            head, rest = self.held[:end], self.held[end + 4 :]
            if head.startswith(b"GET"):
                self.held = rest
                self.write(HEAD)
                writes.append(self.write)
                continue
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            if len(rest) < length:
                return
            self.held = rest[length:]
            publish(rest[:length])
            self.write(ANSWER)

    def connection_lost(self, error: Exception | None) -> None:
        if self.write in writes:
            writes.remove(self.write)


def publish(data: bytes) -> None:
    frame = b"id: floor1.%d\ndata: %b\n\n" % (next(offsets), data)
    chunk = b"%x\r\n%b\r\n" % (len(frame), frame)
    for write in writes:
        write(chunk)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
