"""A real hub on a real server in a thread, for the tests of the clients."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

import uvicorn

from support.ports import free_port
from support.waiting import PATIENCE, wait_until
from tidewire.hub import Hub


class RunningHub:
    """`with RunningHub() as running:` … `running.url`; `restart()` starts a new log at the same address."""

    def __init__(self, **settings: Any) -> None:
        self._settings = {"retry": 0.5, **settings}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.hub = Hub(per_process=True, **self._settings)
        config = uvicorn.Config(
            self.hub.app, port=self.port, log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started or not self._thread.is_alive())
        assert self._server.started

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server does not stop"

    def connections(self) -> int:
        """How many clients are connected to the server."""
        return len(self._server.server_state.connections)

    def restart(self) -> None:
        self.stop()
        self._start()
