"""Where `tidewire serve` keeps its log, unless it is told otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from ..errors import StartRefused


def default_log_path() -> Path:
    """Return the file in this user's directory for data."""
    return Path(platformdirs.user_data_dir("tidewire", appauthor=False)) / "events.db"


def default_engine() -> str:
    """Return the URL of the default log, and make its directory. Raise `StartRefused`."""
    path = default_log_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartRefused(
            f"{path.parent} cannot be made ({error.strerror}): name a file with --engine sqlite:////path,"
            " or keep nothing with --engine memory"
        ) from None
    return f"sqlite:///{os.fspath(path)}"
