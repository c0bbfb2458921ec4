"""The table in the docs says of each client what the tests find, and names the version that they run."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from support.client_matrix import BOTH, MODELS, PAGES, STREAMS, Client
from support.documents import ROOT, tables
from support.nodejs import CLIENTS

PAGE = "docs/reference/clients.md"
AT_END = {"stops": "stops", "raises": "raises", "asks forever": "asks"}
RESUMES = {"yes": BOTH, "no": (), "on plain streams": ("plain",)}


def pins() -> dict[tuple[str, bool], str]:
    """Map each package, and whether it is of npm, to the version that the tests install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    python = dict(line.split("==") for line in project["dependency-groups"]["clients"])
    npm = json.loads((CLIENTS / "package.json").read_text("utf-8"))["dependencies"]
    versions = {(name, False): version for name, version in python.items()}
    return versions | {(name, True): version.rpartition("@")[2] for name, version in npm.items()}


def named(cell: str) -> tuple[str, bool]:
    """Return the package that a cell names, and whether it is of npm."""
    match = re.match(r"`([^`]+)`", cell)
    assert match
    name = "htmx4" if "htmx 4" in cell else match[1]
    return name, "(npm" in cell


def key(client: Client) -> tuple[str, bool]:
    return client.package, client.kind != "python"


def test_the_table_of_sse_clients() -> None:
    (rows,) = tables(
        PAGE, "client", "version", "comes back by itself", "when its topic has ended", "what to set"
    )
    said = {named(row[0]): (row[1], RESUMES[row[2]], AT_END[row[3]]) for row in rows}
    versions = pins()
    assert said == {
        key(client): (versions[key(client)], client.resumes, client.at_end) for client in STREAMS + PAGES
    }


def test_the_table_of_sdks() -> None:
    (rows,) = tables(PAGE, "client", "version", "what it reads")
    versions = pins()
    assert {named(row[0]): row[1] for row in rows} == {key(one): versions[key(one)] for one in MODELS}


@pytest.mark.parametrize("client", STREAMS + PAGES + MODELS, ids=lambda client: client.id)
def test_each_client_of_the_matrix_is_installed_by_the_project(client: Client) -> None:
    assert key(client) in pins()
