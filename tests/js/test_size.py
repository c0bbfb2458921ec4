"""The size of the browser client, and that it loads nothing else."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable

import tidewire
from support.nodejs import JS

SERVED = JS.parent / "src" / "tidewire" / "web" / "tidewire.js"
LIMIT = 6_500


def test_js_size(record_property: Callable[[str, object], None]) -> None:
    size = len(gzip.compress(SERVED.read_bytes(), 9))
    record_property("tidewire.js, bytes gzipped", size)
    assert size <= LIMIT, f"{size} bytes gzipped, {size - LIMIT} too many"


def test_it_loads_nothing() -> None:
    assert not re.search(r"\bimport\b|\beval\b|https?://", SERVED.read_text())


def test_its_version_is_that_of_the_package() -> None:
    package = json.loads((JS / "package.json").read_text())
    (version,) = re.findall(
        r'^export const VERSION = "(.+)";$', (JS / "src/request.js").read_text(), re.MULTILINE
    )
    assert {version, package["version"]} == {tidewire.__version__}
