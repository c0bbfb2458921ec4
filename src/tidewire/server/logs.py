"""
What a server logs, and the format of a line.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")


# A JWT or a ticket, wherever it is: with --access-log also in a URL. The head of a JWT is a JSON object,
# whose base64 begins so; tickets have a prefix for this.
TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+(\.[\w-]*)?|twt_[\w-]+", re.ASCII)


class LineFormatter(logging.Formatter):
    """
    Formats a record as one line (an exception adds indented ones).

    Escapes unprintable characters, and leaves out tokens.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(without_tokens(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:
        lines = without_tokens(super().formatException(ei)).splitlines()
        return "\n".join("    " + printable(line) for line in lines)


def without_tokens(text: str) -> str:
    return TOKEN.sub("[token]", text)


def printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def configure_logging(level: str, access_log: bool) -> None:
    """Log to stderr. uvicorn's own progress messages appear only at level debug."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    wanted = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger("tidewire").setLevel(wanted)
    logging.getLogger("uvicorn").setLevel(wanted if level == "debug" else max(wanted, logging.WARNING))
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if access_log else logging.CRITICAL)
