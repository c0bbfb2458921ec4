"""The real `tidewire` command as a separate process, with stdout and stderr apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.waiting import PATIENCE, wait_until

COMMAND = str(Path(sys.executable).with_name("tidewire"))


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TIDEWIRE_") and k != "NO_COLOR"}
    return {**clean, **changes}


def tidewire(
    *words: str | Path, input: bytes = b"", env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    done = subprocess.run(
        [COMMAND, *map(str, words)],
        input=input,
        env=environment(env or {}),
        capture_output=True,
        timeout=PATIENCE,
        **options,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Running:
    """The command while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def output(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def errors(self) -> str:
        return self._err.read_text("utf-8")

    def wait_errors(self, text: str) -> None:
        wait_until(lambda: text in self.errors or self.process.poll() is not None)
        assert text in self.errors

    def wait_output(self, text: str) -> None:
        wait_until(lambda: text in self.output or self.process.poll() is not None)
        assert text in self.output

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@contextmanager
def running(
    folder: Path, *words: str | Path, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[Running]:
    """Run the command during the block. Its output goes to files in `folder`, unless `options` differ."""
    out, err = folder / "stdout", folder / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [COMMAND, *map(str, words)],
            env=environment(env or {}),
            **{"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr, **options},
        )
    try:
        yield Running(process, out, err)
    finally:
        process.kill()
        process.wait(PATIENCE)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
