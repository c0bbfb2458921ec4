"""
Public tools for testing a program, a hub, a client or an engine.

`client` drives an ASGI program and reads its streams; `recorder` and `checker` judge a run; `contract`
admits an engine; `clock` and `wire` stand in for time and the socket. Nothing here needs pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asgi_client import client

__all__ = ["client"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # At first use: pytest may still want to rewrite the asserts of the modules here.
    return getattr(importlib.import_module(".asgi_client", __name__), name)
