"""The attacks on what a hub tells its operators: logs and metrics (docs/reference/attacks.md, G and D15)."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from support.processes import Process
from support.tokens import SECRET, bearer, token
from support.waiting import wait_until
from support.ways import Served, tracebacks

COMMAND = Path(sys.executable).parent / "tidewire"
FORMATS = ["text", "json"]


@pytest.fixture(params=FORMATS)
def logging_hub(request: pytest.FixtureRequest) -> Iterator[Served]:
    """`tidewire serve` with keys, which logs as much as it can."""
    with serving(request.param, "--token-key", SECRET, "--anonymous-subscribe", "open/**") as hub:
        yield hub


@contextmanager
def serving(log_format: str, *options: str) -> Iterator[Served]:
    words = ["--log-format", log_format, "--log-level", "debug", "--access-log", *options]
    with Process([COMMAND, "serve", "--port", "0", "--engine", "memory", *words]) as process:
        port = int(process.wait_line(r"Tidewire \S+ on http://127\.0\.0\.1:(\d+)").group(1))
        yield Served(port, process, "takeover")


def lines_of(hub: Served) -> list[str]:
    """Return what was logged: all but the banner, which has three lines."""
    return [line for line in hub.process.output.splitlines() if not line.startswith(("Tidewire ", "  "))]


def stream_lines(hub: Served, what: str) -> list[dict[str, object]]:
    """Return the fields of all lines about streams, in either format."""
    found: list[dict[str, object]] = []
    for line in lines_of(hub):
        if line.startswith("{"):
            fields = json.loads(line)
            if fields.get("what") == what:
                found.append(fields)
        elif f" {what}: " in line:
            words = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line.partition(f" {what}: ")[2])
            found.append({name: json.loads(text) if text[0] == '"' else text for name, text in words})
    return found


# -- secrets

TICKET = "b64url-Ticket_0f3a9c55d1e2"
OPAQUE = "opaqueSecret.5c1d~77/aa+bb=="


def test_d15_no_secret_is_in_any_output(logging_hub: Served) -> None:
    """Tokens, tickets and cookies in every place of a request, in both formats."""
    good, other = token(subscribe=["mine"]), token("another-key-that-is-long-enough-123456")
    bodies: list[bytes] = []

    def ask(method: str, path: str, body: bytes | None = None, **headers: str) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = logging_hub.ask(method, path, body, given)
        bodies.append(answer.body)
        return answer.status

    for text in (good, other, OPAQUE):
        for name in ("access_token", "%61ccess_token", "ticket", "%74icket", "TICKET", "token", "jwt"):
            ask("GET", f"/events/a?x=1&{name}={quote(text)}&since=now")
            ask("POST", f"/events/a?{name}={quote(text)}", b"x")
        ask("GET", f"/events/a?topic={good}", **bearer(text))
        ask("GET", f"/events/{quote(good).replace('.', '%2E')}")
        ask("GET", "/metrics", Cookie=f"tidewire={text}; other={OPAQUE}")
        ask("GET", "/events/a", Cookie=f"session={text}", Origin="https://evil.example")
        ask("POST", "/events", json.dumps({"topic": "a", "ticket": text, "data": text}).encode())
        ask("POST", "/revocations", json.dumps({"jti": text, "x": text}).encode(), **bearer(good))
        ask("POST", "/events/a", text.encode(), **bearer(good))
        ask("GET", f"/{quote(good)}", **bearer(text))
        ask("GET", "/events/a", Referer=f"https://x.example/?ticket={text}", User_Agent=f"Bearer {text}")
        ask("PATCH", f"/events/a?ticket={quote(text)}", Authorization=f"Basic {text}")
    for text in (TICKET, quote(OPAQUE), quote(OPAQUE, safe="")):
        assert ask("GET", f"/events/a?ticket={text}") in (401, 400)
    with logging_hub.listen("/events/mine", bearer(good)) as listener:
        listener.take(1)
        bodies.append(logging_hub.ask("GET", "/streams", headers=bearer(token(admin=True))).body)
    bodies.append(logging_hub.ask("GET", "/metrics").body)
    wait_until(lambda: bool(stream_lines(logging_hub, "stream ended")))
    assert logging_hub.process.stop() == 0
    said = logging_hub.process.output + b"\n".join(bodies).decode()
    secrets = [SECRET, TICKET, OPAQUE, quote(OPAQUE), quote(OPAQUE, safe="")]
    for text in (good, other):
        secrets += text.split(".")
    # (A refused topic is named to the bearer of a valid token, who sent it.)
    said = said.replace(f'"topic":"{good}"', "")
    for secret in secrets:
        assert secret not in said, secret
    assert tracebacks(said) == 0


# -- lines


def test_g01_control_characters_cannot_forge_a_line(logging_hub: Served) -> None:
    forged = "a\r\nERROR forged \x1b[2J\u202egnirts\u2028"
    subject = (
        token(subject := "x", sub=forged, subscribe=["*"]) if False else token(sub=forged, subscribe=["*"])
    )
    logging_hub.ask(
        "GET", f"/events/{quote(forged)}?since={quote(forged)}", headers={"User-Agent": "a\x1b[2J"}
    )
    logging_hub.ask("POST", f"/events/{quote(forged)}?event={quote(forged)}", b"x")
    logging_hub.ask("GET", "/events/a", headers={"X-Forwarded-For": "1.2.3.4\x1b[2J", **bearer("x")})
    logging_hub.ask("GET", "/events/a/b", headers=bearer(subject))
    with logging_hub.listen("/events/a", bearer(subject)) as listener:
        listener.take(1)
    wait_until(lambda: bool(stream_lines(logging_hub, "stream ended")))
    assert logging_hub.process.stop() == 0
    for line in lines_of(logging_hub):
        assert line.isprintable(), line
        assert re.match(r"\{|[0-9-]+ [0-9:,]+ [A-Z]+ ", line), line
    assert {fields["subject"] for fields in stream_lines(logging_hub, "stream ended")} == {forged}
    assert forged in {fields["subject"] for fields in stream_lines(logging_hub, "stream refused")}


def test_g10_no_line_has_data_or_a_traceback(logging_hub: Served) -> None:
    publisher = bearer(token(publish=["open/*"]))
    with logging_hub.listen("/events/open/a") as listener:
        listener.take(1)
        assert logging_hub.ask("POST", "/events/open/a", b"payload-of-a-user", publisher).status == 200
        assert listener.take(1)[0].data == "payload-of-a-user"
    assert logging_hub.ask("POST", "/events", b'{"payload-of-a-user": ', publisher).status == 400
    assert logging_hub.ask("POST", "/events/open/a", b"payload-of-a-user\xff", publisher).status == 400
    wait_until(lambda: bool(stream_lines(logging_hub, "stream ended")))
    assert logging_hub.process.stop() == 0
    assert "payload-of-a-user" not in logging_hub.process.output
    assert "Traceback" not in logging_hub.process.output


@pytest.mark.parametrize("log_format", FORMATS)
def test_each_stream_that_ends_is_one_line(log_format: str) -> None:
    with serving(log_format) as hub:
        hub.publish("a", "1")
        with hub.listen("/events?topic=a&topic=b/*&since=start") as listener:
            listener.take(1)
            hub.publish("a", "2")
            hub.publish("b/c", "3")
            listener.take(2)
            assert hub.process.stop() == 0
        (ended,) = stream_lines(hub, "stream ended")
        assert {name: str(ended[name]) for name in ("reason", "address", "topics", "events")} == {
            "reason": "drain",
            "address": "127.0.0.1",
            "topics": "2",
            "events": "3",
        }
        assert 0 <= float(str(ended["seconds"])) < 600
        assert ended["subject"] in (None, "-")


def test_each_stream_that_is_refused_is_one_line(logging_hub: Served) -> None:
    ann = bearer(token(sub="ann", subscribe=["mine"]))
    logging_hub.ask("GET", "/events/a")
    logging_hub.ask("GET", "/events?topic=mine&topic=a", headers=ann)
    logging_hub.ask("GET", "/events/mine?since=x", headers=ann)
    # A page of history and a publish are not streams.
    logging_hub.ask("GET", "/events/a", headers={"Accept": "application/json"})
    logging_hub.ask("POST", "/events/a", b"x")
    assert logging_hub.process.stop() == 0
    refused = stream_lines(logging_hub, "stream refused")
    assert [(fields["code"], str(fields["topics"])) for fields in refused] == [
        ("missing_token", "1"),
        ("not_granted", "2"),
        ("invalid_since", "1"),
    ]
    assert refused[1]["subject"] == "ann"
    assert {fields["address"] for fields in refused} == {"127.0.0.1"}


def test_d14_the_line_of_a_refusal_says_whose_token_was_revoked(logging_hub: Served) -> None:
    eve = bearer(token(sub="eve", jti="of eve", subscribe=["mine"]))
    admin = bearer(token(admin=True))
    assert logging_hub.ask("POST", "/revocations", '{"jti": "of eve"}', admin).status == 204
    assert logging_hub.ask("GET", "/events/mine", headers=eve).status == 401
    assert logging_hub.process.stop() == 0
    (refused,) = stream_lines(logging_hub, "stream refused")
    assert (refused["code"], refused["subject"]) == ("token_revoked", "eve")


def test_every_line_of_the_log_is_json() -> None:
    with serving("json") as hub:
        hub.publish("a", "1")
        hub.ask("GET", "/events/a?since=x")
        assert hub.process.stop() == 0
        lines = [json.loads(line) for line in lines_of(hub)]
        assert len(lines) >= 3
        for line in lines:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
            assert {"time", "level", "logger", "message"} <= line.keys()


# -- metrics


def test_g02_nothing_that_clients_send_becomes_a_label() -> None:
    with serving("text") as hub:
        sample = re.compile(r"^tidewire_[^#\s]+", re.MULTILINE)

        def series() -> set[str]:
            return set(sample.findall(hub.ask("GET", "/metrics").body.decode()))

        def use(name: str) -> None:
            hub.publish(f"topic-{name}", "x", event=name)
            hub.ask("DELETE", f"/events/topic-{name}")
            hub.ask("POST", f"/events/topic-{name}", b"x")
            hub.ask("GET", f"/path-{name}")
            hub.ask(f"METHOD{name}", "/events/a")
            hub.ask("GET", "/metrics", headers={"Host": f"host-{name}"})
            hub.ask("GET", f"/events/a?since={name}", headers={"User-Agent": name, **bearer(name)})
            hub.ask("GET", f"/events/*{name}")
            hub.ask("POST", f"/events/a?event=hub.{name}", b"x")
            with hub.listen(f"/events/topic2-{name}?control=none", bearer(token(sub=name))) as listener:
                assert listener.status == 200

        use("first")
        wait_until(lambda: any("ended_streams" in name for name in series()))
        before = series()
        assert len(before) > 20
        for number in range(50):
            use(f"n{number}")
        assert series() == before
        assert not re.search(r"first|topic-|host-|path-|METHOD", " ".join(before))
