"""What the Dockerfile says is what `tidewire serve` understands. (No test builds the image.)"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import COMMAND
from support.processes import Process
from tidewire.cli.serve import serve

TEXT = (Path(__file__).parents[2] / "Dockerfile").read_text("utf-8")
ENV = dict(re.findall(r"^ENV (\w+)=(.+)$", TEXT, re.MULTILINE))


def said(instruction: str) -> str:
    (found,) = re.findall(rf"^{instruction} (.+)$", TEXT, re.MULTILINE)
    return str(found)


def test_its_variables_are_options_of_serve() -> None:
    assert ENV.keys() <= {str(option.envvar) for option in serve.params if hasattr(option, "envvar")}
    assert ENV["TIDEWIRE_ENGINE"].startswith(f"sqlite:///{said('VOLUME')}/")
    assert ENV["TIDEWIRE_PORT"] == said("EXPOSE")


def test_it_is_not_open_unless_that_is_said() -> None:
    with Process([COMMAND, "serve"], env=ENV) as hub:
        assert hub.wait() == 2
    assert "--open" in hub.output


@pytest.fixture
def port(tmp_path: Path) -> Iterator[str]:
    """The port of a hub as the image runs it, but for its place on the disk."""
    env = {
        **ENV,
        "TIDEWIRE_OPEN": "1",
        "TIDEWIRE_PORT": "0",
        "TIDEWIRE_ENGINE": f"sqlite:///{tmp_path}/tidewire.db",
    }
    with Process([COMMAND, "serve"], env=env) as hub:
        yield hub.wait_line(r"on http://0\.0\.0\.0:(\d+)")[1]
        assert hub.stop() == 0


def test_its_health_check_tells_a_hub_from_none(port: str) -> None:
    check = said("HEALTHCHECK CMD")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for asked, healthy in [(port, True), ("1", False)]:
        env = {"PATH": path, "TIDEWIRE_PORT": asked}
        done = subprocess.run(["sh", "-c", check], env=env, capture_output=True, timeout=30)
        assert (done.returncode == 0) == healthy, done.stderr
