"""
The engine that a URL names.
"""

from __future__ import annotations

import importlib

from ..errors import InvalidInput
from ..log.engine import Engine
from ..settings import Settings

ENGINES = {
    "memory": "tidewire.engines.memory:MemoryEngine",
    "sqlite": "tidewire.engines.sqlite:SQLiteEngine",
}


def make_engine(url: str, settings: Settings) -> Engine:
    """Return the engine that `url` names, not yet open. Raise `InvalidInput` for an unknown scheme."""
    scheme = url.partition(":")[0]
    path = ENGINES.get(scheme)
    if path is None:
        raise InvalidInput(
            f"no engine is called {scheme!r}; there is: {', '.join(ENGINES)}", code="invalid_engine"
        )
    module, _, name = path.partition(":")
    engine: Engine = getattr(importlib.import_module(module), name)(url, settings)
    return engine
