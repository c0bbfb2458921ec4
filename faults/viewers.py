"""Viewers of runs: each follows one run through any of several processes until it has its end."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Sequence

from faults.served import Served
from tidewire.event_stream import Decoder, Event
from tidewire.testing.recorder import Recorder, end_of

# Longer than a heartbeat, and than a process is stopped.
TIMEOUT = 20.0
AGAIN = 0.1
# Seconds without the end of its run after which a viewer gives up.
PATIENCE = 60.0


def text_of(event: str, data: str) -> str:
    """Return what stands for the data of an event in a recording: the end of a run is told by its key."""
    kind, _, state = event.partition(".")
    return end_of(json.loads(data)["key"], state) if kind == "run" else data


class Viewer(threading.Thread):
    """
    Follows the run `key` of a chat, in its own thread.

    With `start`, a query, it posts and so starts the run if it is the first. Otherwise it attaches. `end` is
    the terminal event and `ended_at` when it came. `left`: it came too late to see anything. `faulty` is
    what a client must never get.
    """

    def __init__(
        self, name: str, hubs: Sequence[Served], recorder: Recorder, topic: str, key: str, start: str = ""
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.key = key
        self.end: Event | None = None
        self.ended_at = 0.0
        self.left = False
        self.faulty = ""
        self._hubs = hubs
        self._recorder = recorder
        self._topic = topic
        self._start_query = start
        self._streams = 0
        self._position = ""

    def run(self) -> None:
        give_up = time.monotonic() + PATIENCE
        while not (self.end or self.left or self.faulty):
            if time.monotonic() > give_up:
                self.faulty = "never got the end"
                return
            try:
                self._connect(random.choice(self._hubs))
            except (OSError, http.client.HTTPException):
                time.sleep(AGAIN)

    def _connect(self, hub: Served) -> None:
        connection = http.client.HTTPConnection(hub.host, hub.port, timeout=TIMEOUT)
        try:
            method = "POST" if self._start_query else "GET"
            headers = {"Last-Event-ID": self._position} if self._position else {}
            connection.request(method, f"/{self._topic}{self._start_query}", headers=headers)
            answer = connection.getresponse()
            if answer.status == 200:
                self._read(answer)
            elif answer.status == 204:
                # The run is over. Who has seen a part of it must get the rest.
                self.left = not self._position
                self.faulty = "" if self.left else f"204 after {self._position}"
            elif answer.status in (409, 503):
                time.sleep(AGAIN)
            else:
                self.faulty = f"{answer.status} {answer.read()[:200]!r}"
        finally:
            connection.close()

    def _read(self, answer: http.client.HTTPResponse) -> None:
        self._streams += 1
        stream, decoder = f"{self.name}/{self._streams}", Decoder()
        self._recorder.opened(stream, self.name, [self._topic], self._position or None, self.key)
        complete = False
        try:
            while data := answer.read1(65536):
                for event in decoder.feed(data):
                    if isinstance(event, Event):
                        self._deliver(stream, event)
            complete = True
        finally:
            self._recorder.closed(stream, properly=complete)

    def _deliver(self, stream: str, event: Event) -> None:
        self._position = event.id or ""
        self._recorder.delivered(stream, self._position, self._topic, text_of(event.event, event.data))
        if event.event.startswith("run."):
            self.end, self.ended_at = event, time.monotonic()
