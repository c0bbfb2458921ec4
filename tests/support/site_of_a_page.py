"""The server of a page, for the tests of the browser client: an empty page, the client, scripted streams."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import tidewire
from support.browser_pages import wait_until
from support.scripted import HOLD, Action, answer
from support.waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Page

CLIENT = Path(tidewire.__file__).with_name("web") / "tidewire.js"
PAGE = b"<!doctype html><link rel=icon href=data:,><title>empty</title>"

# Makes waits a hundred times shorter; the error event says how long they should be.
HURRY = """
const sleep = globalThis.setTimeout;
globalThis.setTimeout = (run, ms, ...rest) => sleep(run, ms / 100, ...rest);
"""

OPEN = """
async ([url, options, functions]) => {
  const { EventStream } = await import("/tidewire.js");
  for (const [name, text] of Object.entries(functions)) options[name] = eval(text);
  const seen = (globalThis.seen = []);
  const stream = (globalThis.stream = new EventStream(url, options));
  for (const type of ["open", "message", "tick", "error", "event:open", "event:error"]) {
    stream.addEventListener(type, (event) => {
      const { data = null, lastEventId: id = null, reason = null, status = null, delay = null } = event;
      const { final = null } = event;
      seen.push({ type, data, id, state: stream.readyState, reason, status, delay, final });
    });
  }
}
"""


class Asked(NamedTuple):
    method: str
    headers: dict[str, bytes]
    body: bytes

    def __getitem__(self, name: str) -> Any:  # type: ignore[override]
        return self.headers.get(name)


class Site:
    """`with Site() as site:` serves the page at `site.url`, and below `/stream/` what `scripts` has."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[Sequence[Action]]] = {}
        self.requests: dict[str, list[Asked]] = defaultdict(list)
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the page left
                    self.close_connection = True

            def do_GET(self) -> None:
                if self.path.startswith("/stream/"):
                    site.play(self)
                elif self.path == "/tidewire.js":
                    self.give("text/javascript", CLIENT.read_bytes())
                else:
                    self.give("text/html", PAGE)

            do_POST = do_REPORT = do_OPTIONS = do_GET

            def give(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def play(self, handler: BaseHTTPRequestHandler) -> None:
        """Play the next script of the path; a path that has none left answers 204."""
        # The headers byte for byte, as they came over the wire: the handler read them as Latin-1.
        headers = {name.lower(): value.encode("latin-1") for name, value in handler.headers.items()}
        body = handler.rfile.read(int(headers.get("content-length", 0)))
        self.requests[handler.path].append(Asked(handler.command, headers, body))
        scripts = self.scripts.get(handler.path)
        handler.close_connection = True
        for action in scripts.pop(0) if scripts else answer("204 No Content"):
            if isinstance(action, bytes):
                handler.wfile.write(action)
            elif isinstance(action, threading.Event):
                assert action.wait(PATIENCE)
            elif action == HOLD:
                handler.rfile.read(1)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE)
        self._server.server_close()


class Case:
    """One stream at a time in a page that many tests share, each at its own path."""

    _numbers = itertools.count()

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        self.site = site
        self.path = f"/stream/{next(self._numbers)}"

    @property
    def requests(self) -> list[Asked]:
        return self.site.requests[self.path]

    def listen(
        self, *scripts: Sequence[Action], url: str = "", functions: Any = None, **options: Any
    ) -> Self:
        """Open a stream with these scripts on the server; `functions` are options as JavaScript."""
        self.site.scripts[self.path] = list(scripts)
        self.page.evaluate(OPEN, [url or self.path, options, functions or {}])
        return self

    def run(self, script: str) -> Any:
        return self.page.evaluate(script)

    def seen(self, count: int) -> list[dict[str, Any]]:
        """Return what the page has seen, once it has seen `count` things."""
        wait_until(lambda: self.run("seen.length") >= count)
        found: list[dict[str, Any]] = self.run("seen")
        return found

    def types(self, count: int) -> list[str]:
        return [one["type"] for one in self.seen(count)]

    def data(self, count: int) -> list[str]:
        """Return the data of the first `count` messages."""
        wait_until(lambda: self.run("seen.filter((one) => one.data !== null).length") >= count)
        return [one["data"] for one in self.run("seen") if one["data"] is not None]

    def errors(self, count: int) -> list[dict[str, Any]]:
        wait_until(lambda: self.run("seen.filter((one) => one.type === 'error').length") >= count)
        return [one for one in self.run("seen") if one["type"] == "error"]

    def closed(self) -> None:
        wait_until(lambda: self.run("stream.readyState") == 2)

    def stays_closed(self) -> None:
        """Check that no reconnect happens, which would take up to ten seconds."""
        requests = len(self.requests)
        self.page.wait_for_timeout(100)
        assert (self.run("stream.readyState"), len(self.requests)) == (2, requests)
