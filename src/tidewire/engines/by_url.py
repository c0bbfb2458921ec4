"""
Making an engine from its URL.
"""

from __future__ import annotations

import importlib
import os.path

from ..errors import InvalidInput
from ..log.engine import Engine
from ..settings import Settings

ENGINES = {
    "memory": "tidewire.engines.memory:MemoryEngine",
    "sqlite": "tidewire.engines.sqlite:SQLiteEngine",
}


def make_engine(url: str, settings: Settings) -> Engine:
    """
    Return the engine that `url` names, not yet open.

    A path that starts with `/`, `./` or `../` is short for its `sqlite:///` URL.
    Raises `InvalidInput` if there is no such engine.
    """
    url = url_of(url)
    scheme = url.partition(":")[0]
    path = ENGINES.get(scheme)
    if path is None:
        hint = f", or ./{url} for a file" if scheme == url else ""
        raise InvalidInput(
            f"unknown engine {scheme!r}; use {' or '.join(ENGINES)}{hint}", code="invalid_engine"
        )
    module, _, name = path.partition(":")
    engine: Engine = getattr(importlib.import_module(module), name)(url, settings)
    return engine


def url_of(text: str) -> str:
    """Return the URL of an engine, which may be given as the path of a log file."""
    is_path = os.path.isabs(text) or text.startswith(("./", "../"))
    return f"sqlite:///{text}" if is_path else text
