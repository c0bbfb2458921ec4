"""
What a server logs, and the formats of a line.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any
from urllib.parse import unquote

from ..delivery.stream_lines import FIELDS

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")

# A JWT or a ticket, wherever it is. The head of a JWT is a JSON object, whose base64 begins so; a ticket has
# a prefix. In a URL a dot may be escaped.
DOT = r"(?:\.|%2[Ee])"
TOKEN = re.compile(rf"eyJ[\w-]+{DOT}[\w-]+(?:{DOT}[\w-]*)?|twt_[\w-]+", re.ASCII)

# A header with a token or cookies, as a request or an exception may show it.
BEARER = re.compile(r"(\bbearer(?: |%20|\+)+)[^\s,;'\"]+", re.IGNORECASE)
COOKIE = re.compile(r"(\bcookie(?:['\"]?[:=] *|['\"], *)b?['\"]?)[^\r\n'\"]+", re.IGNORECASE)

# A parameter of a query. Its name may be escaped.
PARAMETER = re.compile(r"([?&])([^=&\s?]+)=([^&\s#]*)")
SECRET_PARAMETERS = {"access_token", "authorization", "jwt", "ticket", "token"}


class LineFormatter(logging.Formatter):
    """
    Formats a record as one line (an exception adds indented ones).

    Escapes unprintable characters, and leaves out secrets.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(without_secrets(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:
        lines = without_secrets(super().formatException(ei)).splitlines()
        return "\n".join("    " + printable(line) for line in lines)

    def formatStack(self, stack_info: str) -> str:
        return without_secrets(stack_info)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, in ASCII. Leaves out secrets."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{at}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        kept = {
            name: without_secrets(value) if isinstance(value, str) else value
            for name, value in fields.items()
        }
        return json.dumps(kept)


FORMATTERS: dict[str, logging.Formatter] = {
    "text": LineFormatter("%(asctime)s %(levelname)s %(message)s"),
    "json": JsonFormatter(),
}
LOG_FORMATS = tuple(FORMATTERS)


def without_secrets(text: str) -> str:
    """Return `text` without tokens, tickets and cookies."""
    text = PARAMETER.sub(without_value, text)
    text = COOKIE.sub(r"\1[cookie]", text)
    text = BEARER.sub(r"\1[token]", text)
    return TOKEN.sub("[token]", text)


def without_value(parameter: re.Match[str]) -> str:
    before, name, _ = parameter.groups()
    if unquote(name).lower() not in SECRET_PARAMETERS:
        return parameter[0]
    return f"{before}{name}=[secret]"


def printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def configure_logging(level: str, access_log: bool, log_format: str = "text") -> None:
    """Log to stderr. uvicorn's own progress messages appear only at level debug."""
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATTERS[log_format])
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    wanted = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger("tidewire").setLevel(wanted)
    logging.getLogger("uvicorn").setLevel(wanted if level == "debug" else max(wanted, logging.WARNING))
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if access_log else logging.CRITICAL)
