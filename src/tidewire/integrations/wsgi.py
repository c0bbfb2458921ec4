"""
A hub beside a WSGI program: the program publishes to it and redirects its clients' streams to it.

A worker that holds a stream serves nobody else in that time. So no stream goes through the program: the
client follows the redirect to the hub. Where the hub has a key, the redirect carries a ticket for these
topics alone.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2
import orjson

from ..auth.signing import sign
from ..client.core.publishing import body_of
from ..client.core.requests import failed
from ..client.sync.publisher import Publisher, SyncCaller
from ..errors import Unavailable
from ..http.requests import LAST_EVENT_ID_PARAMETERS
from ..http.stream_topics import check_stream_topics, patterns_of

# Seconds for which an event is sent again to a hub that does not answer: a request waits for them.
RETRY_FOR = 5.0
# Seconds for a ticket.
TIMEOUT = 5.0
# Seconds until a stream with a ticket ends, and its client asks the program again.
STREAM_LIFE = 3600
# Seconds for which the program's own token is good: it makes one for each request.
TOKEN_LIFE = 300

# Parameters of the client that are the hub's to read.
PASSED_ON = {"control", *LAST_EVENT_ID_PARAMETERS}


class HubBeside:
    """
    The hub at `url`, for the views of a WSGI program.

        hub = HubBeside("http://127.0.0.1:8080")
        hub.publisher.publish("orders/7", {"status": "paid"}, event="status")
        hub.stream_url(environ, "orders/7")  # answer 307 with this as `Location`

    `public_url` is where clients reach the hub, if that is not `url`; a path such as `/hub` means the host
    that the program has for them. `token_key` is the key of a hub that has one: a secret, a private key in
    PEM, or the path of a file with one of them. The program then publishes with tokens of its own. The other
    arguments are those of `Publisher`. Raises `InvalidInput` for what is not a URL or a key.
    """

    def __init__(
        self, url: str, *, public_url: str | None = None, token_key: str | None = None, **publisher: Any
    ) -> None:
        self._url = url.rstrip("/")
        self._public_url = (public_url or url).rstrip("/")
        self._token_key = token_key
        if token_key is not None:
            self._publishing()  # raises now if the key is not good
            publisher = {"headers": self._publishing, **publisher}
        self.publisher = Publisher(url, **{"retry_for": RETRY_FOR, **publisher})
        self._caller = SyncCaller(publisher.get("client"))

    def close(self) -> None:
        """Close the connections to the hub."""
        self.publisher.close()
        self._caller.close()

    def stream_url(
        self,
        environ: Mapping[str, Any],
        *topics: str,
        patterns: Iterable[str] = (),
        since: str | None = None,
        sub: str | None = None,
    ) -> str:
        """
        Return the URL where the client of `environ` gets `topics`, and what matches `patterns`, as a stream.

        The stream resumes where the client was; without a position it starts at `since`. `sub` says whose
        stream it is, where the hub has a key. Raises `NotFound` for what is not a topic, and `Unavailable` if
        a ticket is needed and no hub answers.
        """
        check_stream_topics(topics, "stream_url")
        terms = [*topics, *patterns_of(patterns, "stream_url")]
        query = [("topic", term) for term in terms]
        query += [item for item in parse_qsl(environ.get("QUERY_STRING", "")) if item[0] in PASSED_ON]
        if position := environ.get("HTTP_LAST_EVENT_ID"):
            query.append(("last_event_id", position))
        if since is not None:
            query.append(("since", since))
        if self._token_key is not None:
            query.append(("ticket", self._ticket(environ, terms, sub)))
        return f"{self._public_url}/events?{urlencode(query)}"

    def _publishing(self) -> dict[str, str]:
        return self._bearer(TOKEN_LIFE, {"publish": ["**"]})

    def _bearer(self, life: int, grant: Mapping[str, Any], **claims: str) -> dict[str, str]:
        assert self._token_key is not None
        now = int(time.time())
        token = sign({"iat": now, "exp": now + life, "tidewire": grant, **claims}, self._token_key)
        return {"Authorization": f"Bearer {token}"}

    def _ticket(self, environ: Mapping[str, Any], terms: list[str], sub: str | None) -> str:
        claims = {"jti": uuid.uuid4().hex, **({} if sub is None else {"sub": sub})}
        headers = self._bearer(STREAM_LIFE, {"subscribe": terms}, **claims) | self._origin(environ)
        url = httpx2.URL(f"{self._url}/tickets")
        try:
            answer = self._caller.client.post(url, headers=headers, timeout=TIMEOUT, follow_redirects=False)
        except httpx2.RequestError as error:
            raise Unavailable(failed(url, error).detail, code="unreachable") from error
        ticket: str = orjson.loads(body_of(answer))["ticket"]
        return ticket

    def _origin(self, environ: Mapping[str, Any]) -> dict[str, str]:
        """Return the header that names the page of a ticket; none for programs and the hub's own pages."""
        program = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', '')}"
        page = environ.get("HTTP_ORIGIN")
        if page is None and environ.get("HTTP_SEC_FETCH_SITE") == "same-origin":
            page = program
        hub = urljoin(program, self._public_url)
        return {} if page is None or urlsplit(page).netloc == urlsplit(hub).netloc else {"Origin": page}
