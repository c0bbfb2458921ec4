"""The project of docs/how-to/django.md, made as the page says, on the servers that it names; the example."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.documents import blocks
from support.ports import free_port
from support.processes import Process
from support.ways import Served, tracebacks

pytest.importorskip("django", reason="django is not installed")

ROOT = Path(__file__).parents[2]
PAGE = "docs/how-to/django.md"
SERVERS = {
    "takeover": "-m uvicorn {app} --port {port} --http tidewire.server.protocol:StreamProtocol",
    "uvicorn": "-m uvicorn {app} --port {port}",
    "daphne": "-m daphne {app} -b 127.0.0.1 -p {port}",
}


@contextmanager
def running(way: str, app: str, cwd: Path) -> Iterator[Served]:
    if way == "daphne":
        pytest.importorskip("daphne", reason="daphne is not installed")
    port = free_port()
    with Process([sys.executable, *SERVERS[way].format(app=app, port=port).split()], cwd=cwd) as process:
        process.wait_port(port)
        yield Served(port, process, way)


def check(server: Served) -> None:
    with server.listen("/orders/7/events") as stream, server.listen("/clock") as clock:
        assert stream.take(1)[0].event == "hub.position"
        assert server.ask("POST", "/orders/7/pay").status == 204
        (event,) = stream.take(1)
        assert (event.event, event.json()) == ("status", {"status": "paid"})
        assert [item.event for item in clock.take(2)] == ["tick", "tick"]
    assert tracebacks(server.process.output) == 0


def manage(project: Path, *words: str) -> str:
    command = [sys.executable, "manage.py", *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIDEWIRE_")}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    start = [sys.executable, "-m", "django", "startproject", "shop", str(folder)]
    subprocess.run(start, check=True, cwd=folder)
    settings, views, urls, _, tests = (block.text for block in blocks("python", PAGE))
    with (folder / "shop/settings.py").open("a") as file:
        file.write(settings)
    for name, text in {"views.py": views, "urls.py": urls, "tests.py": tests}.items():
        (folder / "shop" / name).write_text(text)
    manage(folder, "migrate")
    return folder


@pytest.mark.parametrize("way", SERVERS)
def test_the_project_of_the_page(way: str, project: Path) -> None:
    with running(way, "shop.asgi:application", project) as server:
        check(server)


def test_the_tests_of_the_page(project: Path) -> None:
    assert "Ran 2 tests" in manage(project, "test", "shop")


def test_the_command_of_the_page(project: Path) -> None:
    command = [sys.executable, "manage.py", "tidewire", "serve", "--port", "0"]
    with running("uvicorn", "shop.asgi:application", project) as server:
        with Process(command, cwd=project, env={"TIDEWIRE_ENGINE": None}) as hub:
            url = hub.wait_line(r"http://[^ /]+").group()
            with server.listen("/orders/7/events") as stream:
                stream.take(1)
                manage(project, "tidewire", "publish", "announcements", "back at noon", "--url", url)
                assert stream.take(1)[0].data == "back at noon"


@pytest.mark.parametrize("way", SERVERS)
def test_the_example(way: str) -> None:
    with running(way, "examples.frameworks.django_orders:app", ROOT) as server:
        check(server)
