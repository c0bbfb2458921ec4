"""How a client behaves on the connection: the numbered lines of docs/reference/client-behaviour.md."""

from __future__ import annotations

from support.documents import tables

PAGE = "docs/reference/client-behaviour.md"

ROWS = [row for table in tables(PAGE, "line", "rule", "Python", "browser") for row in table]

LINES = {line: rule for line, rule, _, _ in ROWS}

# The lines that each client is tested by; the table says why it is not tested by the others.
PYTHON = {line for line, _, python, _ in ROWS if python.startswith("yes")}
BROWSER = {line for line, _, _, browser in ROWS if browser.startswith("yes")}
