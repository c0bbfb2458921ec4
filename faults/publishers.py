"""Publishers: every event has a key and is sent again until it is acked."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tidewire.testing.recorder import Recorder

# Longer than any answer may take.
TIMEOUT = 8.0
AGAIN = 0.05
# Seconds that a stopped publisher still has to get its last event acked.
LAST_CHANCE = 60.0


@dataclass(frozen=True)
class Answer:
    """The outcome of one attempt. `status` is 0 if no answer came; `stored` is True if it was acked."""

    at: float
    took: float
    status: int
    stored: bool | str
    id: str = ""

    @property
    def acked(self) -> bool:
        return self.status == 200


class Publisher(threading.Thread):
    """
    Publishes at a steady rate until `stop`, one event after another.

    `acked` are the time, topic and id of each acked event; `answers` are those of all attempts.
    """

    def __init__(
        self,
        number: int,
        host: str,
        port: int,
        topics: Sequence[str],
        recorder: Recorder,
        rate: float,
        size: int,
    ) -> None:
        super().__init__(name=f"publisher {number}", daemon=True)
        self.number = number
        self.topics = topics
        self.recorder = recorder
        self.interval = 1 / rate
        self.filler = "x" * size
        self.answers: list[Answer] = []
        self.acked: list[tuple[float, str, str]] = []
        self.unfinished = ""
        self._address = host, port
        self._connection: http.client.HTTPConnection | None = None
        self._ending = threading.Event()
        self._random = random.Random(number)

    def stop(self) -> None:
        self._ending.set()

    def run(self) -> None:
        counter, due = 0, time.monotonic()
        while not self._ending.is_set():
            counter += 1
            self._publish(counter)
            # Events held up by an outage are not sent in a burst afterwards.
            due = max(due + self.interval, time.monotonic())
            self._ending.wait(due - time.monotonic())
        self._drop()

    def _publish(self, counter: int) -> None:
        name = f"{self.number}-{counter}"
        topic, data = self._random.choice(self.topics), f"{name} {self.filler}"
        give_up = None
        while True:
            answer = self._attempt(name, topic, data)
            self.answers.append(answer)
            if answer.acked:
                self.acked.append((answer.at, topic, answer.id))
                return
            if self._ending.is_set():
                give_up = give_up or time.monotonic() + LAST_CHANCE
                if time.monotonic() > give_up:
                    self.unfinished = name
                    return
            time.sleep(AGAIN)

    def _attempt(self, name: str, topic: str, data: str) -> Answer:
        self.recorder.invoked(name, topic, data)
        begun = time.monotonic()
        try:
            status, body = self._post(name, topic, data)
        except ConnectionRefusedError:
            status, body = 0, {"stored": False}
        except (OSError, http.client.HTTPException):
            status, body = 0, {"stored": "unknown"}
        now = time.monotonic()
        stored = status == 200 or body.get("stored", "unknown")
        answer = Answer(now, now - begun, status, stored, body.get("id", ""))
        if answer.acked:
            self.recorder.ok(name, answer.id, body["duplicate"], body["durability"])
        else:
            self._drop()
            (self.recorder.refused if answer.stored is False else self.recorder.unknown)(name)
        return answer

    def _post(self, name: str, topic: str, data: str) -> tuple[int, dict[str, Any]]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT)
        headers = {"Idempotency-Key": f"faults-{name}", "Content-Type": "text/plain"}
        self._connection.request("POST", f"/events/{quote(topic)}", data.encode(), headers)
        answer = self._connection.getresponse()
        body = answer.read()
        try:
            return answer.status, json.loads(body)
        except ValueError:
            return answer.status, {"stored": "unknown"}

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
