"""An HTTP server with event streams that have one fault each, for what tests endpoints from outside."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Seconds between two events.
EVERY = 0.05
# Seconds until the first event, longer than a head should take.
LATE = 3.5
# How many events a stream has, if it has an end.
FEW = 4


class Endpoint(BaseHTTPRequestHandler):
    """`/good` and its faulty siblings. Each stream sends numbered events until its client leaves."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_OPTIONS(self) -> None:
        self.send_response(204 if self.path == "/cors" else 405)
        if self.path == "/cors":
            self.send_header("Access-Control-Allow-Origin", "https://a.example")
            self.send_header("Access-Control-Allow-Headers", "Last-Event-ID")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        with contextlib.suppress(ConnectionError):
            getattr(self, f"get_{self.path[1:].replace('-', '_')}")()

    # -- the streams

    def get_good(self) -> None:
        if self.after == FEW:
            self.send_response(204)
            self.end_headers()
            return
        self.begin()
        self.chunk(b": hello\n\n")
        self.number()

    def get_late(self) -> None:
        """The head comes only with the first event."""
        time.sleep(LATE)
        self.begin()
        self.number()

    def get_headless(self) -> None:
        self.rfile.read(1)

    def get_ended(self) -> None:
        """It ends, and says so by 204 to a client that has all of it."""
        if self.after == FEW:
            self.send_response(204)
            self.end_headers()
            return
        self.begin()
        self.number(FEW)
        self.chunk(b"")

    def get_no_204(self) -> None:
        self.begin()
        self.after = 0
        self.number(FEW)
        self.chunk(b"")

    def get_cors(self) -> None:
        self.begin(("Access-Control-Allow-Origin", "https://a.example"))
        self.number()

    def get_no_ids(self) -> None:
        self.begin()
        while True:
            self.chunk(b'data: {"a": 1}\n\n')
            time.sleep(EVERY)

    def get_retry_block(self) -> None:
        self.begin()
        self.chunk(b"retry: 2000\n\n")
        self.number()

    def get_forgetful(self) -> None:
        """It goes on with what is new, whatever its client has missed."""
        self.begin()
        self.after = self.after + 100 if self.after else 0
        self.number()

    def get_repeating(self) -> None:
        self.begin()
        self.after = 0
        self.number()

    def get_buffered(self) -> None:
        """As behind a proxy that passes on only what fills its buffer."""
        self.begin(("Via", "1.1 slow-proxy"))
        held = b""
        number = self.after
        while True:
            number += 1
            held += b"id: %d\ndata: %b\n\n" % (number, b"x" * 50)
            while len(held) >= 256:
                self.chunk(held[:256])
                held = held[256:]
            time.sleep(EVERY)

    def get_batched(self) -> None:
        """As behind a proxy that passes events on every second."""
        self.begin()
        number = self.after
        while True:
            events = []
            for _ in range(10):
                number += 1
                events.append(b'id: %d\ndata: {"at": %.3f}\n\n' % (number, time.time()))
                time.sleep(0.1)
            self.chunk(b"".join(events))

    def get_gzip(self) -> None:
        """Compressed without a flush after each event."""
        if "gzip" not in self.headers.get("Accept-Encoding", ""):
            self.get_good()
            return
        self.begin(("Content-Encoding", "gzip"))
        compressor = zlib.compressobj(wbits=31)
        for number in range(1, 10_000):
            self.chunk(compressor.compress(b"id: %d\ndata: 1\n\n" % number), even_if_empty=False)
            time.sleep(EVERY)

    def get_gzip_flushed(self) -> None:
        if "gzip" not in self.headers.get("Accept-Encoding", ""):
            self.get_good()
            return
        self.begin(("Content-Encoding", "gzip"))
        compressor = zlib.compressobj(wbits=31)
        for number in range(1, 10_000):
            event = b"id: %d\ndata: 1\n\n" % number
            self.chunk(compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH))
            time.sleep(EVERY)

    def get_gzip_in_parts(self) -> None:
        """Each event is compressed by itself, as Django's GZipMiddleware does it under ASGI."""
        if "gzip" not in self.headers.get("Accept-Encoding", ""):
            self.get_good()
            return
        self.begin(("Content-Encoding", "gzip"))
        for number in range(1, 10_000):
            self.chunk(gzip.compress(b"id: %d\ndata: 1\n\n" % number))
            time.sleep(EVERY)

    def get_silent(self) -> None:
        self.begin()
        while not self.rfile.read(1):
            time.sleep(EVERY)

    def get_page(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    def get_cut(self) -> None:
        self.begin()
        self.number(FEW)
        self.close_connection = True

    def get_escapes(self) -> None:
        self.begin()
        while True:
            self.chunk(b"event: \x1b[31m\nid: 1\ndata: \x1b[0m\n\n")
            time.sleep(EVERY)

    def get_cached(self) -> None:
        self.begin(cache=None)
        self.number()

    # -- their parts

    @property
    def after(self) -> int:
        return int(self.headers.get("Last-Event-ID") or 0)

    @after.setter
    def after(self, number: int) -> None:
        self.headers.replace_header("Last-Event-ID", str(number)) if self.after else None

    def begin(self, *more: tuple[str, str], cache: str | None = "no-store") -> None:
        self.send_response(200)
        headers = [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"), *more]
        for name, value in [*headers, *([("Cache-Control", cache)] if cache else [])]:
            self.send_header(name, value)
        self.end_headers()

    def number(self, count: int = 100_000) -> None:
        for number in range(self.after + 1, count + 1):
            self.chunk(b"id: %d\ndata: %d\n\n" % (number, number))
            time.sleep(EVERY)

    def chunk(self, data: bytes, even_if_empty: bool = True) -> None:
        if data or even_if_empty:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


@contextlib.contextmanager
def bad_endpoints() -> Iterator[str]:
    """Run the server, and return its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
