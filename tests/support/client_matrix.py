"""The clients of others: what each reads and does, as the table of docs/reference/clients.md says it."""

from __future__ import annotations

from typing import NamedTuple

DATASTAR = "@starfederation/datastar"
FETCH = "@microsoft/fetch-event-source"


class Client(NamedTuple):
    """
    `kind` is python, node or page (in a browser). `resumes` names the streams, normal or plain, that it
    opens again by itself with its last id when the connection is lost. `at_end` is what it does when the
    topic of its stream has ended: it `stops`, `raises` an error, or `asks` for ever.
    """

    package: str
    kind: str
    resumes: tuple[str, ...]
    at_end: str

    @property
    def id(self) -> str:
        return f"{self.package} ({self.kind})"


BOTH = ("normal", "plain")

# They read any stream, and give their program its types and ids.
STREAMS = [
    Client("httpx-sse", "python", (), "stops"),
    Client("httpx2", "python", (), "stops"),
    Client("sseclient-py", "python", (), "stops"),
    Client("aiohttp-sse-client", "python", (), "raises"),
    Client("launchdarkly-eventsource", "python", BOTH, "raises"),
    Client("langgraph-sdk", "python", (), "stops"),
    Client("eventsource", "node", BOTH, "stops"),
    Client("eventsource-client", "node", BOTH, "stops"),
]

# The same in a browser.
PAGES = [
    Client("event-source-polyfill", "page", BOTH, "stops"),
    Client(FETCH, "page", BOTH, "asks"),
    Client("htmx-ext-sse", "page", BOTH, "asks"),
    Client("htmx4", "page", BOTH, "asks"),
    Client(DATASTAR, "page", ("plain",), "stops"),
]

# They ask for an answer by POST, and read nothing but the messages of their own protocol.
MODELS = [
    Client("openai", "python", (), "stops"),
    Client("anthropic", "python", (), "stops"),
    Client("openai", "node", (), "stops"),
    Client("@anthropic-ai/sdk", "node", (), "stops"),
    Client("ai", "node", (), "stops"),
    Client("@ag-ui/client", "node", (), "stops"),
]
