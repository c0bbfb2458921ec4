"""Attack E14 (docs/reference/attacks.md): in each header and parameter, what its parser does not read."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from itertools import cycle, product
from pathlib import Path
from random import Random
from typing import NamedTuple
from urllib.parse import quote_from_bytes

import pytest

import tidewire
from support.error_codes import raised
from support.tokens import SECRET
from support.waiting import PATIENCE
from support.ways import Served, served
from tidewire.http.requests import LAST_EVENT_ID_PARAMETERS

SRC = Path(tidewire.__file__).parent

# Every header that the hub or its server reads. uvicorn reads the last two from a proxy.
HEADERS = [
    "Accept",
    "Authorization",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Event-Type",
    "Expect",
    "Host",
    "HTTP2-Settings",
    "Idempotency-Key",
    "Last-Event-ID",
    "Origin",
    "Sec-Fetch-Site",
    "Tidewire-Client",
    "traceparent",
    "Transfer-Encoding",
    "Upgrade",
    "User-Agent",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
]

# How the sources read a header.
READS = re.compile(
    r'(?:header|headers\.get)\(b"([\w-]+)"'
    r'|header_text\(request, b"([\w-]+)"'
    r'|b"([\w-]+)" (?:not )?in \w+(?:\.\w+)*\.headers'
    r'|name == b"([\w-]+)"'
    r'|b"([\w-]+)": StreamProtocol'
)
SETS = re.compile(r"^(?:NOT_PLAIN|UPGRADE) = (\{.*\})$", re.MULTILINE)

# Every parameter, and the requests in which it is read: method, path, and a header.
PAGE = ("Accept", b"application/json")
STREAM = ("Accept", b"text/event-stream")
LINES = ("Content-Type", b"application/x-ndjson")
PARAMETERS = {
    "topic": [("GET", "/events", PAGE), ("POST", "/events", STREAM), ("DELETE", "/events", STREAM)],
    "since": [("GET", "/events/{n}", PAGE), ("GET", "/events/{n}", STREAM)],
    **{
        name: [("GET", "/events/{n}", PAGE), ("GET", "/events/{n}", STREAM)]
        for name in LAST_EVENT_ID_PARAMETERS
    },
    "limit": [("GET", "/events/{n}", PAGE)],
    "control": [("GET", "/events/{n}", STREAM)],
    "ticket": [("GET", "/events/{n}", PAGE), ("GET", "/events/{n}", STREAM)],
    "event": [("POST", "/events/{n}", STREAM)],
    "retry": [("POST", "/events/{n}", STREAM)],
    "id": [("POST", "/events/{n}", STREAM)],
    "receipts": [("POST", "/events", LINES)],
    "reason": [("DELETE", "/events/{n}", STREAM)],
}

# What parsers raise for, or read as something else.
URLS = [b"http://[", b"http://[::1", b"http://]", b"http://a]b", b"http://a:99999999", b"http://a:b", b"//["]
NAMES = ["http://\u2100.com".encode(), b"http://xn--\x80", b"http://\xe9.com", b"xn--", b"a" * 64 + b".."]
ADDRESSES = [b"999.1.1.1", b"1.1", b"fe80::1%", b"fe80::1%25", b"::ffff:1.2.3.4", b"[::1", b"[::1]:x", b":"]
ESCAPES = [b"%", b"%f", b"%ff", b"%zz", b"%00", b"%ed%a0%80", b"%c0%80"]
BYTES = [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\x85", b"\xa0", b"\xef\xbb\xbf", b"\xe2\x80\xa8"]
DIGITS = ["\uff11\uff12".encode(), "\u0663".encode(), b"\xb2", b"0x10", b"1_000", b"+5", b"-1", b"-0", b"007"]
INTEGERS = [b"9" * 19, b"9" * 20, b"9" * 400, b"9" * 4301, b"-9223372036854775809"]
FLOATS = [b"1e400", b"1e999", b"1e-999", b"nan", b"inf", b"-inf", b"1.", b".5"]
TIMES = [b"2026-13-45T99:99", b"9999-12-31T23:59:60", b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00+23:59"]
SINCE = [b"last:", b"last:-1", b"last:999999999", b"999999999d", b"a.1", b"a.1.1", b"abcdef." + b"9" * 19]
LISTS = [b",", b";", b";q=", b"a;charset=\xff", b"*/*;q=x", b"application/x-ndjson;\xff", b"gzip, \xff"]
OTHERS = [b"=", b"YQ", b"YQ=====", b"{", b'{"a":', b'"', b"[" * 2000, b"hub.x", b"$sys/x", b"", b"x" * 8192]
BAD = [
    *(URLS + NAMES + ADDRESSES + ESCAPES + BYTES + DIGITS + INTEGERS),
    *(FLOATS + TIMES + SINCE + LISTS + OTHERS),
]

METHODS = ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT"]
PATHS = [
    *("/events", "/events/{n}", "/events/{n}/*", "/health/live", "/health/ready"),
    *("/metrics", "/tidewire.js", "/{n}"),
]
ROUTES = list(product(METHODS, PATHS))

CODES = raised(without=("client", "cli"))


class Answer(NamedTuple):
    status: int
    kind: str | None
    body: bytes


@pytest.fixture(scope="module", params=["takeover", "uvicorn"])
def checking(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A hub that checks everything it can; its log must have no traceback in the end."""
    with served(
        request.param,
        "locked_hub:app",
        keys=[SECRET],
        anonymous={"subscribe": ["**"], "publish": ["**"], "admin": True},
        allowed_origins=["https://friend.example"],
        hub={"allowed_hosts": ["hub.example"], "stream_rate": 1000.0, "max_streams_per_address": 1000},
    ) as hub:
        yield hub
    for word in ("Traceback", "ERROR"):
        assert word not in hub.process.output


def ask(hub: Served, method: str, target: str, header: str, value: bytes) -> None:
    """Send a request with this header, and fail unless the answer is one of the documented ones."""
    body = b'{"topic": "a", "data": [1]}' if method in ("POST", "PUT") else b""
    headers = {"host": b"127.0.0.1", "content-length": b"%d" % len(body), "connection": b"close"}
    if header == "Transfer-Encoding":
        del headers["content-length"]
    headers[header.lower()] = value
    lines = [f"{method} {target} HTTP/1.1".encode()]
    lines += [b"%b: %b" % (name.encode(), value) for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", hub.port), PATIENCE) as client:
        client.sendall(b"\r\n".join([*lines, b"", body]))
        with HTTPResponse(client, method=method) as response:
            response.begin()
            kind = response.getheader("Content-Type")
            # A stream does not end, so only refusals are read.
            answer = Answer(response.status, kind, response.read() if response.status >= 400 else b"")
    assert is_documented(answer, method, hub), f"{method} {target[:200]}, {header}: {value[:80]!r}: {answer}"


def is_documented(answer: Answer, method: str, hub: Served) -> bool:
    if answer.status < 400:
        return True
    if hub.way == "uvicorn" and (answer.status, answer.kind) == (400, "text/plain; charset=utf-8"):
        return method == "HEAD" or answer.body == b"Invalid HTTP request received."  # its own refusal
    if answer.status >= 500 or answer.kind != "application/problem+json":
        return False
    if method == "HEAD":
        return True
    fields = json.loads(answer.body)
    return fields["status"] == answer.status and (answer.status, fields["code"]) in CODES


def test_every_header_that_is_read_is_tried() -> None:
    read = set()
    for path in [*SRC.glob("http/*.py"), *SRC.glob("server/*.py")]:
        source = path.read_text("utf-8")
        read |= {name for found in READS.findall(source) for name in found if name}
        read |= {name for found in SETS.findall(source) for name in re.findall(r'b"([\w-]+)"', found)}
    assert {"host", "origin", "event-type", "cookie", "connection", "expect", "upgrade"} <= read
    assert read <= {header.lower() for header in HEADERS}


def test_every_parameter_that_is_read_is_tried() -> None:
    source = SRC.joinpath("http", "requests.py").read_text("utf-8")
    read = set(re.findall(r'\.(?:one|all)\("(\w+)"\)', source))
    assert read | set(LAST_EVENT_ID_PARAMETERS) == set(PARAMETERS)


@pytest.mark.parametrize("header", HEADERS)
def test_e14_bad_text_in_a_header(checking: Served, header: str) -> None:
    """Each text comes once, and each method of each path at least once."""
    random = Random(header)
    texts, routes = random.sample(BAD, len(BAD)), random.sample(ROUTES, len(ROUTES))
    assert len(texts) >= len(routes)
    for n, (text, (method, path)) in enumerate(zip(texts, cycle(routes), strict=False)):
        ask(checking, method, path.format(n=f"{header}-{n}"), header, text)
    assert checking.ask("POST", "/events/after", "x").status == 200


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_e14_bad_text_in_a_parameter(checking: Served, parameter: str) -> None:
    for n, (text, (method, path, header)) in enumerate(product(BAD, PARAMETERS[parameter])):
        value = quote_from_bytes(text, safe="%[]:/=;,+")
        ask(checking, method, f"{path.format(n=f'{parameter}-{n}')}?{parameter}={value}", *header)
    assert checking.ask("POST", "/events/after", "x").status == 200
