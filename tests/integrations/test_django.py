"""The programs of docs/how-to/sessions.md for Django, behind our server and another one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.documents import blocks
from support.ports import free_port
from support.processes import Process
from support.ways import APPS, WAYS, Served

pytest.importorskip("django", reason="django is not installed")

PAGE = {"Accept": "application/json"}


@pytest.mark.parametrize("way", ["takeover", "uvicorn"])
def test_a_session_of_django(way: str, tmp_path: Path) -> None:
    program, view = (
        block.text for block in blocks("python", "docs/how-to/sessions.md") if block.section == "django"
    )
    environment = {
        "ASGI": program,
        "VIEWS": view,
        "DATABASE": str(tmp_path / "django.db"),
        "PYTHONPATH": str(APPS),
    }
    port = free_port()
    command = WAYS[way].format(app="django_sessions:app", port=port).split()
    with Process([sys.executable, "-m", *command], env=environment) as process:
        process.wait_port(port)
        server = Served(port, process, way)
        assert server.ask("GET", "/hub/events/users/1/x", headers=PAGE).status == 401
        answer = server.ask("POST", "/login/ada")
        ada = answer.body.decode()
        session = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
        own, other = f"/hub/events/users/{ada}/x", f"/hub/events/users/{ada}0/x"
        assert server.ask("GET", own, headers={**PAGE, **session}).status == 200
        assert server.ask("GET", other, headers={**PAGE, **session}).status == 403
        evil = {"Origin": "https://evil.example"}
        assert server.ask("GET", own, headers={**PAGE, **session, **evil}).status == 403
        with server.listen(own, session) as one, server.listen(own, session) as two:
            assert server.ask("POST", "/logout", headers=session).status == 204
            for stream in (one, two):
                assert [event.data for event in stream.rest()][-1] == '{"reason":"logged out"}'
        assert server.ask("GET", own, headers=session).status == 401
        process.stop()
        assert "Traceback" not in process.output
