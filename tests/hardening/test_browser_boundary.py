"""The attacks E of docs/reference/attacks.md: what a page of another site can make a browser send."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest

from support.ports import free_port
from support.processes import Process
from support.proxies import command
from support.tokens import SECRET, bearer, token
from support.waiting import PATIENCE, wait_until
from support.ways import Answer, Served, raw_request, served

EVIL = {"Origin": "https://evil.example"}
FRIEND = {"Origin": "https://friend.example"}


def allowed_origin(answer: Answer) -> str | None:
    return answer.headers.get("access-control-allow-origin")


def test_e01_origins_are_not_reflected_blindly(hub: Served) -> None:
    page = {"Accept": "application/json"}
    for path in ("/events/e01", "/health/live", "/tidewire.js", "/nothing"):
        evil = hub.ask("GET", path, headers={**EVIL, **page})
        assert allowed_origin(evil) is None
        assert "access-control-allow-credentials" not in evil.headers
        assert evil.headers["vary"] == "origin"
        friend = hub.ask("GET", path, headers={**FRIEND, **page})
        assert allowed_origin(friend) == "https://friend.example"
        assert friend.headers["vary"] == "origin"


def test_e01_streams_for_an_allowed_origin(hub: Served) -> None:
    with hub.listen("/events/e01", FRIEND) as listener:
        assert listener.headers["access-control-allow-origin"] == "https://friend.example"
        assert (
            listener.headers["access-control-expose-headers"]
            == "tidewire-heartbeat, tidewire-position, retry-after"
        )


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("cookie", [{}, {"Cookie": "session=1"}])
@pytest.mark.parametrize(
    "origin", [EVIL, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://127.0.0.1:1"}]
)
def test_e03_cross_site_writes(
    hub: Served, method: str, cookie: dict[str, str], origin: dict[str, str]
) -> None:
    headers = {**origin, **cookie, "Content-Type": "text/plain"}
    answer = hub.ask(method, "/events/e03", b"x", headers)
    assert (answer.status, answer.json()["code"], answer.json()["stored"]) == (403, "cross_site", False)
    assert hub.ask("GET", "/events/e03", headers={"Accept": "application/json"}).json()["events"] == []


def test_e03_own_pages_allowed_origins_and_programs_may_write(hub: Served) -> None:
    own = {"Origin": f"http://127.0.0.1:{hub.port}", "Sec-Fetch-Site": "same-origin"}
    for headers in (own, FRIEND, {}):
        assert hub.ask("POST", "/events/e03b", b"x", headers).status == 200


def test_e03_e15_a_page_whose_proxy_rewrites_host_may_write(hub: Served) -> None:
    page = {"Origin": "http://localhost:5173", "Host": f"127.0.0.1:{hub.port}"}
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"X-Forwarded-Host": "localhost:5173"}):
        assert hub.ask("POST", "/events/e03c", b"x", {**page, **headers}).status == 200
    for headers in ({"Sec-Fetch-Site": "same-site"}, {}):
        assert hub.ask("POST", "/events/e03c", b"x", {**page, **headers}).status == 403
    hub.process.wait_line("refused the POST of a page of http://localhost:5173, .*--allowed-origin")


def test_e04_cookies_from_a_foreign_page(hub: Served) -> None:
    refused = hub.ask("GET", "/events/e04", headers={**EVIL, "Cookie": "session=1"})
    assert (refused.status, refused.json()["code"]) == (403, "cross_site")
    with hub.listen("/events/e04", {**FRIEND, "Cookie": "session=1"}) as listener:
        assert listener.status == 200


def test_e05_no_other_way_to_write(hub: Served) -> None:
    assert (
        hub.ask("GET", "/events/e05?data=x&_method=POST", headers={"Accept": "application/json"}).status
        == 200
    )
    override = {"X-HTTP-Method-Override": "DELETE", "Accept": "application/json"}
    page = hub.ask("GET", "/events/e05", headers=override).json()
    assert (page["events"], page["ended"]) == ([], False)
    assert hub.ask("PATCH", "/events/e05", b"x").status == 405


@pytest.fixture(scope="module")
def guarded(kind: tuple[str, str], url: str) -> Iterator[Served]:
    """A hub that accepts only its own host names, like `tidewire serve` on loopback."""
    with served(kind[0], url=url, allowed_hosts=["hub.example"]) as running:
        yield running


@pytest.mark.parametrize("path", ["/events/e06", "/health/live", "/tidewire.js", "/metrics", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_e06_rebound_host_names(guarded: Served, path: str, host: str) -> None:
    answer = guarded.ask("GET", path, headers={"Host": host})
    assert (answer.status, answer.json()["code"]) == (421, "wrong_host")


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:{port}", "[::1]:{port}", "hub.example", "HUB.example:81"]
)
def test_e06_own_host_names(guarded: Served, host: str) -> None:
    host = host.format(port=guarded.port)
    assert guarded.ask("GET", "/health/live", headers={"Host": host}).status == 200


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_e06_the_commands_answer_only_to_loopback_names(command: str) -> None:
    argv = [sys.executable, "-m", "tidewire", command, "--port", "0"]
    with Process([*argv, "--engine", "memory"] if command == "serve" else argv) as process:
        found = process.wait_line(r"http://127\.0\.0\.1:([0-9]+)|http://localhost:([0-9]+)")
        hub = Served(int(found[1] or found[2]), process, "takeover")
        for method, path in [("GET", "/events/e06"), ("POST", "/events/e06"), ("GET", "/"), ("GET", "/demo")]:
            refused = hub.ask(method, path, headers={"Host": "evil.example"})
            assert (refused.status, refused.json()["code"]) == (421, "wrong_host"), path
            assert "evil" not in refused.body.decode()
        with hub.listen("/events/e06", {"Host": "localhost"}) as listener:
            assert listener.take(1)


@pytest.fixture(scope="module")
def counting(kind: tuple[str, str], url: str) -> Iterator[Served]:
    """A hub that counts streams of loopback addresses, too."""
    with served(kind[0], url=url, max_streams_per_address=2) as running:
        yield running


FORWARDED = {
    "X-Forwarded-For": "203.0.113.{n}",
    "Forwarded": "for=203.0.113.{n}",
    "X-Real-IP": "203.0.113.{n}",
}


@pytest.mark.parametrize("header", FORWARDED)
def test_e08_an_untrusted_peer_names_another_address(counting: Served, header: str) -> None:
    """Only the proxy on 127.0.0.1 is believed, and only what is in X-Forwarded-For."""
    peer = f"127.0.8.{list(FORWARDED).index(header) + 1}"
    with ExitStack() as stack:
        for number in range(3):
            client = stack.enter_context(
                socket.create_connection(("127.0.0.1", counting.port), PATIENCE, source_address=(peer, 0))
            )
            line = f"{header}: {FORWARDED[header].format(n=number)}"
            lines = ["GET /events/e08 HTTP/1.1", "Host: localhost", "Tidewire-Client: test", line, "", ""]
            client.sendall("\r\n".join(lines).encode())
            head = client.recv(65536)
            assert head.startswith(b"HTTP/1.1 200 " if number < 2 else b"HTTP/1.1 429 "), head
            if number < 2:
                wait_until(lambda number=number: addresses(counting, peer) == number + 1)


def addresses(hub: Served, address: str) -> int:
    """Return how many open streams have this address."""
    streams = hub.ask("GET", "/streams").json()["streams"]
    return [stream["address"] for stream in streams].count(address)


def test_e09_no_cache_keeps_an_answer(hub: Served) -> None:
    """Whatever is asked for, and however it is refused: what one user gets is not for another."""
    hub.publish("e09", "x")
    with hub.listen("/events/e09") as listener:
        assert listener.headers["cache-control"] == "no-store, no-transform"
        assert listener.headers["x-accel-buffering"] == "no"
        heads = [listener.headers]
    asked = [
        ("GET", "/events/e09", {"Accept": "application/json"}),
        ("GET", "/events/e09", {"Accept": "text/html"}),
        ("HEAD", "/events/e09", {}),
        ("POST", "/events/e09", {}),
        ("POST", "/events/e09?retry=x", {}),
        ("POST", "/events", {"Content-Type": "application/x-ndjson"}),
        ("GET", "/health/live", {}),
        ("GET", "/metrics", {}),
        ("GET", "/streams", {}),
        ("GET", "/runs", {}),
        ("DELETE", "/runs?topic=e09", {}),
        ("GET", "/tidewire.js", {}),
        ("GET", "/nothing", {}),
        ("DELETE", "/events/e09", {}),
        ("GET", "/events/e09?since=now", {"Accept": "text/event-stream", "Last-Event-ID": "{end}"}),
    ]
    end = ""
    for method, path, headers in asked:
        body = b'{"topic": "e09", "data": "x"}' if method == "POST" else None
        answer = hub.ask(method, path, body, {name: text.format(end=end) for name, text in headers.items()})
        if (method, path) == ("DELETE", "/events/e09"):
            end = answer.json()["id"]
        assert "no-store" in answer.headers["cache-control"], (method, path)
        assert answer.status == 204 or answer.headers["x-content-type-options"] == "nosniff", (method, path)
        heads.append(answer.headers)
    assert answer.status == 204
    for head in heads:
        assert head["vary"] == "origin"
        assert not {"etag", "last-modified", "expires", "age"} & head.keys()


def test_e10_no_part_of_a_topic_gets_into_a_response_head(hub: Served) -> None:
    answer = hub.ask("POST", "/events/x%0d%0aSet-Cookie:%20a=b", b"x")
    assert answer.status == 400
    assert "set-cookie" not in answer.headers


def test_e11_preflights(hub: Served) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
    friend = hub.ask("OPTIONS", "/events/e11", headers={**FRIEND, **asked})
    assert friend.status == 204
    assert friend.headers["access-control-allow-methods"] == "GET, POST, DELETE"
    assert "last-event-id" in friend.headers["access-control-allow-headers"]
    assert "access-control-allow-private-network" not in friend.headers
    assert allowed_origin(hub.ask("OPTIONS", "/events/e11", headers={**EVIL, **asked})) is None
    # By value, each once: a browser refuses an answer that names an allowed origin twice.
    head = "OPTIONS /events/e11 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    raw = raw_request(hub.port, f"{head}Origin: {FRIEND['Origin']}\r\n\r\n".encode()).lower()
    names = [line.partition(b":")[0] for line in raw.split(b"\r\n") if b":" in line]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("kind", [("takeover", "memory")], indirect=True)
def test_e11_a_preflight_with_a_thousand_headers(hub: Served) -> None:
    many = "".join(f"X-{number}: 1\r\n" for number in range(1000))
    answer = raw_request(hub.port, f"OPTIONS /events/e11 HTTP/1.1\r\nHost: localhost\r\n{many}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_e12_other_methods_and_types(hub: Served) -> None:
    head = hub.ask("HEAD", "/events/e12")
    assert (head.status, head.headers["content-type"], head.body) == (200, "text/event-stream", b"")
    assert hub.ask("PUT", "/events/e12", b"x").status == 405
    assert hub.ask("GET", "/events/e12", headers={"Accept": "text/html"}).status == 406


def test_e13_the_hub_does_not_compress_streams(hub: Served) -> None:
    with hub.listen("/events/e13", {"Accept-Encoding": "gzip, br, zstd"}) as listener:
        assert "content-encoding" not in listener.headers


NOT_ORIGINS = [
    "http://[",
    "http://[::1",
    "http://]",
    "http://a]b",
    "null",
    "file://",
    "[" * 8000,
    "http://\xe2\x84\x80.com",
]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_e15_the_default_port_is_the_same_host(hub: Served, scheme: str) -> None:
    port = {"http": 80, "https": 443}[scheme]
    for origin, host in product(("hub.example", f"hub.example:{port}"), repeat=2):
        headers = {"Origin": f"{scheme}://{origin}", "Host": host}
        assert hub.ask("POST", "/events/e15", b"x", headers).status == 200
    for host in ("hub.example:8080", f"other.example:{port}", f"hub.example:{523 - port}"):
        headers = {"Origin": f"{scheme}://hub.example", "Host": host}
        refused = hub.ask("POST", "/events/e15", b"x", headers)
        assert (refused.status, refused.json()["code"]) == (403, "cross_site")


@pytest.mark.parametrize("origin", NOT_ORIGINS, ids=range(len(NOT_ORIGINS)))
def test_e14_an_origin_that_is_not_one_is_a_foreign_one(hub: Served, origin: str) -> None:
    headers = {"Origin": origin}
    for method in ("POST", "DELETE"):
        refused = hub.ask(method, "/events/e14", b"x", headers)
        assert (refused.status, refused.json()["code"]) == (403, "cross_site")
    refused = hub.ask("GET", "/events/e14", headers={**headers, "Cookie": "session=1"})
    assert (refused.status, refused.json()["code"]) == (403, "cross_site")
    page = hub.ask("GET", "/events/e14", headers={**headers, "Accept": "application/json"})
    assert (page.status, page.json()["events"], allowed_origin(page)) == (200, [], None)


def test_e14_an_empty_host_is_nobodys_own_origin(hub: Served) -> None:
    assert hub.ask("POST", "/events/e14", b"x", {"Origin": "null", "Host": ""}).status == 403


CACHE = """
proxy_cache_path {folder}/cache keys_zone=answers:1m;
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{hub};
        proxy_http_version 1.1;
        proxy_cache answers;
        proxy_cache_valid any 10m;
    }}
}}
"""


def test_e09_no_user_sees_the_bytes_of_another_through_a_cache(kind: tuple[str, str], tmp_path: Path) -> None:
    """nginx keeps every answer that does not forbid it, whoever asks."""
    url = "memory" if kind[1] == "memory" else f"sqlite:///{tmp_path}/log.db"
    port = free_port()
    with served(kind[0], "locked_hub:app", url=url, keys=[SECRET]) as hub:
        shown = CACHE.format(folder=tmp_path, port=port, hub=hub.port)
        with Process(command("nginx", tmp_path, shown)) as nginx:
            nginx.wait_port(port)
            front = Served(port, nginx, "nginx")
            ann = bearer(token(sub="ann", subscribe=["e09"], publish=["e09"]))
            bob, page = bearer(token(sub="bob", subscribe=["b"])), {"Accept": "application/json"}
            for number in range(1, 3):
                assert front.ask("POST", "/events/e09", f"of ann {number}", ann).status == 200
                seen = front.ask("GET", "/events/e09", headers={**page, **ann}).json()["events"]
                assert [event["data"] for event in seen] == [f"of ann {n + 1}" for n in range(number)]
                with front.listen("/events/e09?since=start", ann) as listener:
                    assert listener.take(number + 1)[-1].data == f"of ann {number}"
                for path in ("/events/e09", "/events/e09?since=start"):
                    for headers, status in ((bob, 403), ({}, 401)):
                        refused = front.ask("GET", path, headers={**page, **headers})
                        assert refused.status == status
                        assert b"of ann" not in refused.body
