"""
Making an engine from its URL.
"""

from __future__ import annotations

import importlib
import os.path
import re
from types import ModuleType

from ..errors import InvalidInput
from ..log.engine import Engine
from ..settings import Settings

ENGINES = {
    "memory": "tidewire.engines.memory:MemoryEngine",
    "sqlite": "tidewire.engines.sqlite:SQLiteEngine",
    **dict.fromkeys(
        (
            "redis",
            "rediss",
            "redis+unix",
            "redis+sentinel",
            "valkey",
            "valkeys",
            "valkey+unix",
            "valkey+sentinel",
            "unix",
        ),
        "tidewire.engines.redis:RedisEngine",
    ),
    **dict.fromkeys(("postgresql", "postgres"), "tidewire.engines.postgres:PostgresEngine"),
}
# What installs the driver that an engine imports: an extra of ours for each top-level module.
DRIVERS = {"redis": "redis", "psycopg": "postgres"}


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
    engine: Engine = getattr(import_engine(module, scheme), name)(url, settings)
    return engine


def import_engine(module: str, scheme: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        extra = DRIVERS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise InvalidInput(
            f"the engine {scheme!r} needs a driver that is not installed: pip install 'tidewire[{extra}]'",
            code="invalid_engine",
        ) from None


def without_password(url: str) -> str:
    """Return the URL of an engine as it may be shown: a password is replaced, wherever it stands."""
    url = re.sub(r"^([\w+.-]+://[^/?#:@]*):[^/?#]*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*passw[^=&]*)=[^&]*", r"\1=***", url)


def url_of(text: str) -> str:
    """Return the URL of an engine, which may be given as the path of a log file."""
    is_path = os.path.isabs(text) or text.startswith(("./", "../"))
    return f"sqlite:///{text}" if is_path else text
