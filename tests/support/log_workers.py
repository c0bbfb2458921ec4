"""Several processes with a hub on one log, given by its file or its URL."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.waiting import wait_until

APP = Path(__file__).parents[1] / "apps" / "log_worker.py"


class Refused(Exception):
    """A command was answered with an error; the text is its code."""


class LogWorker:
    """A process of `log_worker.py`. `ask` waits for the answer; `tell` and `answer` do it in two steps."""

    def __init__(self, path: Path | str, **settings: Any) -> None:
        command = [sys.executable, str(APP), os.fspath(path), json.dumps(settings)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self.pid = self._process.pid

    def tell(self, *command: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{json.dumps(command)}\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"process {self.pid} has ended"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["answer"]

    def ask(self, *command: Any) -> Any:
        self.tell(*command)
        return self.answer()

    def wait_seen(self, name: str, *data: str) -> dict[str, Any]:
        """Wait until a stream has had as many events, and assert that it was these. Return what it saw."""
        wait_until(lambda: len(self.ask("seen", name)["data"]) >= len(data))
        seen: dict[str, Any] = self.ask("seen", name)
        assert seen["data"] == list(data)
        return seen

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with contextlib.suppress(OSError):
                pipe.close()


@contextlib.contextmanager
def log_workers(path: Path | str, count: int, **settings: Any) -> Iterator[list[LogWorker]]:
    """Start `count` processes on the log at `path`, wait until it is open in each, and end them."""
    workers = [LogWorker(path, **settings) for _ in range(count)]
    try:
        for worker in workers:
            assert worker.answer() == "open"
        yield workers
    finally:
        for worker in workers:
            worker.kill()


def at_once(workers: list[LogWorker], *commands: tuple[Any, ...]) -> list[Any]:
    """Give each worker its command, and return their answers; `None` for a refusal."""
    for worker, command in zip(workers, commands, strict=True):
        worker.tell(*command)
    answers: list[Any] = [None] * len(workers)

    def wait(index: int) -> None:
        with contextlib.suppress(Refused):
            answers[index] = workers[index].answer()

    threads = [threading.Thread(target=wait, args=(index,)) for index in range(len(workers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
