"""What the tests of others' clients share: a server for each file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.foreign_clients import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("clients")) as server:
        yield server
