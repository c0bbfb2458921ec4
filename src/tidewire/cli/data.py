"""Where `tidewire serve` keeps its log by default."""

from __future__ import annotations

import os

from ..engines.by_url import url_of, without_password
from ..engines.sqlite.engine import path_of
from ..errors import StartRefused

# In the current folder, so that two projects on one machine do not share a log.
DEFAULT_LOG = "tidewire.db"


def default_engine() -> str:
    """Return the URL of the default log. Raises `StartRefused` if the current folder cannot be written to."""
    if not os.access(".", os.W_OK):
        raise StartRefused(
            f"cannot write to the current folder {os.getcwd()}: pass --engine PATH to keep the log elsewhere,"
            " or --engine memory to keep none"
        )
    return url_of(f"./{DEFAULT_LOG}")


def place_of(url: str) -> str:
    """Return the location of a log to show to people: an absolute path, or the URL if it is not a file."""
    url = url_of(url)
    if url.startswith("sqlite:"):
        return os.path.abspath(path_of(url))
    return "in memory" if url == "memory" else without_password(url)
