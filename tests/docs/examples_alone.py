"""
Each framework's example in a virtual environment of its own: the wheel of Tidewire, the framework and its
usual server, and nothing else. What a subscriber prints is compared.

`make examples` runs this file; `make test` does not, because it downloads packages and takes minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from support.ports import free_port
from support.processes import Process

ROOT = Path(__file__).parents[2]


class Example(NamedTuple):
    """What is installed beside the wheel, and the commands that serve it on `{port}`."""

    packages: str
    serve: str
    beside: str = ""
    """A hub, on `{hub}`."""


EXAMPLES = {
    "fastapi": Example("fastapi", "uvicorn examples.frameworks.fastapi_orders:app --port {port}"),
    "starlette": Example("starlette", "uvicorn examples.frameworks.starlette_orders:app --port {port}"),
    "litestar": Example("litestar", "uvicorn examples.frameworks.litestar_orders:app --port {port}"),
    "django": Example("django", "uvicorn examples.frameworks.django_orders:app --port {port}"),
    "django-daphne": Example("django daphne", "daphne examples.frameworks.django_orders:app -p {port}"),
    "aiohttp": Example(
        "aiohttp", "aiohttp.web examples.frameworks.aiohttp_orders:main --hostname 127.0.0.1 --port {port}"
    ),
    "quart": Example(
        "quart hypercorn", "hypercorn examples.frameworks.quart_orders:app --bind 127.0.0.1:{port}"
    ),
    "flask": Example(
        "flask gunicorn",
        "gunicorn examples.frameworks.flask_orders:app --threads 8 --bind 127.0.0.1:{port}",
        "tidewire serve --port {hub}",
    ),
}


def test_every_framework_is_here() -> None:
    names = {path.stem.removesuffix("_orders") for path in (ROOT / "examples/frameworks").glob("*.py")}
    assert {name.partition("-")[0] for name in EXAMPLES} == names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(pip, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The examples, away from the source of Tidewire."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    yield tmp_path
    shutil.rmtree(tmp_path)


def python_with(wheel: Path, packages: str, folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, wheel, *packages.split()], check=True, env=alone())
    return python


def alone() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    example = EXAMPLES[name]
    python = python_with(wheel, example.packages, folder)
    ports = {"port": free_port(), "hub": free_port()}
    env = {"FLASK_TIDEWIRE__url": f"http://127.0.0.1:{ports['hub']}"}
    with ExitStack() as stack:

        def start(command: str, port: int) -> None:
            words = command.format(**ports).split()
            process = stack.enter_context(Process([python, "-m", *words], cwd=folder, env=env))
            process.wait_port(port)

        if example.beside:
            start(example.beside, ports["hub"])
        start(example.serve, ports["port"])
        url = f"http://127.0.0.1:{ports['port']}"
        listen = [python, "-m", "tidewire", "listen", "--count", "1", f"{url}/orders/7/events"]
        listener = stack.enter_context(Process(listen, cwd=folder))
        listener.wait_line("^connected to ")
        assert httpx2.post(f"{url}/orders/7/pay").status_code == 204
        assert listener.wait() == 0
        *_, line = listener.output.splitlines()
        # Before it are the time and the id.
        assert line.split("  ")[2:] == ["status", '{"status":"paid"}']
