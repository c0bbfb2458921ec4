"""Servers for the tests of our protocol."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.stream_clients import WAYS, Way
from support.stream_server import LOOPS, Serving, StreamApp


@pytest.fixture(scope="session")
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.fixture
def app() -> StreamApp:
    return StreamApp()


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serving(app: StreamApp, loop: str) -> Iterator[Serving]:
    with Serving(app, loop=loop) as server:
        yield server


@pytest.fixture(params=WAYS)
def way(
    request: pytest.FixtureRequest,
    app: StreamApp,
    loop: str,
    certificates: tuple[ssl.SSLContext, ssl.SSLContext],
    tmp_path: Path,
) -> Iterator[Way]:
    server, client = certificates if request.param == "tls" else (None, None)
    uds = str(tmp_path / "hub.sock") if request.param == "unix" else None
    with Serving(app, loop=loop, tls=server, uds=uds) as serving:
        yield Way(serving, request.param, client)
