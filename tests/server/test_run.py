"""`tidewire serve` as a process: starting, refusing to start, stopping."""

from __future__ import annotations

import errno
import gc
import logging
import os
import re
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from support.command import COMMAND, tidewire
from support.ports import free_port, port_open
from support.processes import Process
from support.stream_server import closed, dechunk, get, head_of, post, read_all, read_until
from support.tokens import SECRET, token
from support.waiting import PATIENCE, wait_until
from tidewire.auth.tickets import new_ticket
from tidewire.cli import main
from tidewire.errors import StartRefused
from tidewire.server.listeners import bind_failure, bind_tcp, bind_unix, tls_context
from tidewire.server.logs import LineFormatter
from tidewire.server.run import GC_THRESHOLDS, fewer_collections
from tidewire.settings import ROWS, Settings

# Seconds for a stop. Two are promised, on a machine that has time; after 15, what is open is cut off.
STOP = 10.0


class Served(Process):
    """`tidewire serve` on a free port, ready."""

    def __init__(self, *words: str | Path, **options: Any) -> None:
        super().__init__([COMMAND, "serve", "--port", "0", *words], **options)
        self.url = self.wait_line(r"Tidewire \S+ on (\S+)").group(1)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, request: bytes) -> bytes:
        with self.connect() as client:
            client.sendall(request)
            return read_all(client)

    def subscribe(self, topic: str = "news") -> socket.socket:
        client = self.connect()
        client.sendall(get(f"/events/{topic}"))
        read_until(client, b"hub.position")
        return client


def publish(topic: str = "news", data: bytes = b"hello") -> bytes:
    return post(data, "Connection: close", path=f"/events/{topic}")


# -- serving


def test_it_prints_its_address_log_and_durability(tmp_path: Path) -> None:
    with Served(cwd=tmp_path, env={"TIDEWIRE_ENGINE": None}) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
        log = tmp_path / "tidewire.db"
        assert f"log      {log}; durability disk" in server.output
        assert log.exists()
        assert "every program on this machine" in server.output
        with server.subscribe() as client:
            assert head_of(server.ask(publish()))[0] == 200
            assert b"data: hello\n\n" in read_until(client, b"data: hello\n\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_fifty_streams_cleanly_and_the_exit_code_is_0(number: signal.Signals) -> None:
    with Served() as server:
        clients = [server.subscribe() for _ in range(50)]
        began = time.monotonic()
        assert server.stop(number) == 0
        assert time.monotonic() - began < STOP
        for client in clients:
            body, ended = dechunk(read_all(client).rpartition(b"\r\n\r\n\r\n")[2])
            assert ended
            assert re.search(rb"^retry: \d+\n\Z", body, re.MULTILINE)
            client.close()
        assert "Traceback" not in server.output


def test_a_stream_that_nobody_reads_does_not_delay_the_stop() -> None:
    with Served() as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(get("/events/news"))
        for _ in range(10):
            assert head_of(server.ask(publish(data=b"x" * 200_000)))[0] == 200
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < STOP


# A Ctrl-C reaches a worker from the terminal too, perhaps after the SIGTERM from its parent.
@pytest.mark.parametrize("first", [[signal.SIGINT], [signal.SIGTERM, signal.SIGINT]])
def test_a_second_interrupt_forces_the_stop(first: list[signal.Signals]) -> None:
    code = """
import asyncio
from tidewire.server.run import serve
from tidewire.settings import Settings

async def app(scope, receive, send):
    message = await receive()
    if scope["type"] == "http":
        print("asked", flush=True)
        await asyncio.sleep(3600)
    await send({"type": "lifespan.startup.complete"})
    await receive()

serve(app, settings=Settings(drain=3600), port=0, started=lambda urls: print(*urls, flush=True))
print("over", flush=True)
"""
    with Process([sys.executable, "-c", code]) as server:
        port = int(server.wait_line(r"http://127.0.0.1:(\d+)").group(1))
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(get())
            server.wait_line("asked")
            for number in first:
                server.send_signal(number)
                wait_until(lambda: not port_open(port))
                time.sleep(0.5)
                assert server.returncode is None
            server.send_signal(signal.SIGINT)
            server.wait()


def test_the_descriptor_limit_is_raised() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    argv = ["sh", "-c", f"ulimit -Sn 256; exec {COMMAND} serve --port 0"]
    with Process(argv) as server:
        server.wait_line("Tidewire .* on http")
        limits = Path(f"/proc/{server.pid}/limits").read_text()
    assert re.search(rf"Max open files\s+{hard}\s", limits)


def test_an_idle_stream_costs_at_most_4_kib() -> None:
    with Served("--heartbeat", "3600") as server:
        clients: list[socket.socket] = []

        def memory_with(streams: int) -> int:
            while len(clients) < streams:
                clients.append(server.subscribe("quiet"))
            rollup = Path(f"/proc/{server.pid}/smaps_rollup").read_text()
            return int(re.search(r"^Rss:\s+(\d+) kB", rollup, re.MULTILINE)[1])  # type: ignore[index]

        few, many = memory_with(500), memory_with(1500)
        for client in clients:
            client.close()
    assert (many - few) / 1000 <= 4


# -- TLS, unix sockets, addresses


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost")
    chain, key = folder / "chain.pem", folder / "key.pem"
    issued.private_key_pem.write_to_path(key)
    for part in issued.cert_chain_pems:
        part.write_to_path(chain, append=True)
    return chain, key


def test_tls(authority: trustme.CA, certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    trust.set_alpn_protocols(["h2", "http/1.1"])
    with Served("--ssl-certfile", chain, "--ssl-keyfile", key, "--head-timeout", "2") as server:
        assert server.url.startswith("https://")
        with trust.wrap_socket(server.connect(), server_hostname="localhost") as client:
            assert client.selected_alpn_protocol() == "http/1.1"
            client.sendall(get("/events/news"))
            read_until(client, b"hub.position")
            with server.connect() as silent:
                assert closed(silent), "a handshake that never comes"
            assert server.stop() == 0
            assert read_all(client).endswith(b"0\r\n\r\n")


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "hub.sock"
    with Process([COMMAND, "serve", "--uds", path]) as server:
        server.wait_line(f"on unix:{path}")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(get("/events/news"))
            read_until(client, b"hub.position")
            again = tidewire("serve", "--uds", path)
            assert (again.returncode, "is in use" in again.stderr) == (1, True)
            server.kill()
    assert path.exists()
    # A killed server left its socket behind.
    with Process([COMMAND, "serve", "--uds", path]) as server:
        server.wait_line(f"on unix:{path}")
        assert server.stop() == 0
    assert not path.exists()


def test_localhost_listens_on_all_its_addresses() -> None:
    with Process([COMMAND, "serve", "--port", "0", "--host", "localhost"]) as server:
        line = server.wait_line("Tidewire .* on (.*) \\(").group(1)
        urls = line.split(" and ")
        assert len({url.rpartition(":")[2] for url in urls}) == 1
        assert len(urls) == len(
            {info[4] for info in socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM)}
        )


# -- refusing to start, with the reason in one line


@pytest.fixture
def occupied() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_in_use(occupied: int) -> None:
    done = tidewire("serve", "--port", str(occupied))
    assert (done.returncode, done.stdout) == (1, "")
    why = f"127.0.0.1:{occupied} is in use; stop the program that listens there, or use another port"
    assert done.stderr == f"Error: {why}\n"


def test_a_port_that_is_not_allowed() -> None:
    """The tests may run as root, who may use any port."""
    why = bind_failure(PermissionError(errno.EACCES, "Permission denied"), "127.0.0.1:80")
    assert why == "this user may not listen on 127.0.0.1:80; ports below 1024 often need root"


def test_an_address_of_another_machine() -> None:
    with pytest.raises(StartRefused, match=r"192\.0\.2\.1:\d+ is not an address of this machine"):
        bind_tcp("192.0.2.1", free_port())


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(StartRefused, match=r"nothing\.invalid"):
        bind_tcp("nothing.invalid", 0)


def test_a_path_that_cannot_be_a_unix_socket(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(StartRefused, match="is not a socket"):
        bind_unix(str(file))
    assert file.read_text() == "precious"
    with pytest.raises(StartRefused, match="no such directory"):
        bind_unix(str(tmp_path / "none" / "hub.sock"))


def test_invalid_tls_files(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    chain, key = certificate
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(other)
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    with pytest.raises(StartRefused, match=r"cannot read the TLS file .*none\.pem: No such file"):
        tls_context(str(tmp_path / "none.pem"), None)
    for files in [(chain, other), (nothing, key), (chain, nothing), (key, None)]:
        with pytest.raises(StartRefused, match="not a certificate and its unencrypted key"):
            tls_context(str(files[0]), files[1] and str(files[1]))


def test_an_encrypted_key_does_not_prompt_on_the_terminal(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, key = certificate
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"sesame"),
        )
    )
    with pytest.raises(StartRefused, match="unencrypted"):
        tls_context(str(chain), str(locked))


def test_the_memory_engine_writes_no_file(tmp_path: Path) -> None:
    with Served("--engine", "memory", cwd=tmp_path) as server:
        assert "log      in memory; durability memory" in server.output
    assert not list(tmp_path.iterdir())


def test_a_second_hub_on_the_same_log_shares_it(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    with Served("--engine", log) as server, Served("--engine", log) as other, other.subscribe() as client:
        assert head_of(server.ask(publish()))[0] == 200
        assert b"data: hello\n\n" in read_until(client, b"data: hello\n\n")


def test_the_folder_of_a_log_is_created(tmp_path: Path) -> None:
    with Served("--engine", tmp_path / "logs" / "today" / "log.db"):
        assert (tmp_path / "logs" / "today" / "log.db").exists()


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    refused = tidewire("serve", "--port", "0", "--engine", "./logs/log.db", cwd=tmp_path)
    assert refused.returncode == 1
    assert f"cannot create the folder of the log {tmp_path}/logs/log.db" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_current_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 1
    assert "cannot write to the current folder" in result.output
    assert "--engine memory" in result.output
    assert len(result.output.splitlines()) == 1


def test_an_explicit_limit_per_address_counts_on_loopback_even_if_it_is_the_default() -> None:
    with Served("--max-streams-per-address", "100") as server, ExitStack() as clients:
        for _ in range(100):
            clients.enter_context(server.subscribe())
        assert b"too_many_streams" in server.ask(get("/events/news"))


def test_an_engine_that_does_not_exist() -> None:
    result = CliRunner().invoke(main, ["serve", "--engine", "carrier-pigeon://loft"])
    assert result.exit_code == 1
    assert "carrier-pigeon" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_app_that_cannot_start() -> None:
    code = """
from tidewire.errors import StartRefused
from tidewire.server.run import serve
from tidewire.settings import Settings

async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the log is on another planet"})

try:
    serve(app, settings=Settings(), port=0)
except StartRefused as error:
    print("refused:", error)
"""
    with Process([sys.executable, "-c", code]) as server:
        assert server.wait() == 0
    assert server.output == "refused: the log is on another planet\n"


def test_a_log_that_fails_stops_the_server() -> None:
    code = """
from tidewire.errors import TidewireError
from tidewire.hub import Hub
from tidewire.server.run import serve

hub, failures = Hub(), []
try:
    serve(
        hub.app,
        settings=hub.settings,
        port=0,
        started=lambda urls: failures.append("the disk is gone"),
        failure=lambda: failures.pop() if failures else "",
    )
except TidewireError as error:
    print(error.code, error)
"""
    with Process([sys.executable, "-c", code]) as server:
        assert server.wait() == 0
    assert server.output == "engine_failed stopped, since nothing can be stored any more: the disk is gone\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--host", "0.0.0.0"),
        ("--host", "::"),
        ("--ssl-keyfile", "key.pem"),
        ("--heartbeat", "soon"),
        ("--heartbeat", "0"),
        ("--max-headers", "1.5"),
        ("--port", "70000"),
    ],
)
def test_an_invalid_command_line(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["serve", *words])
    assert result.exit_code == 2
    assert words[0].lstrip("-") in result.stderr or words[1] in result.stderr


def test_an_invalid_environment() -> None:
    result = CliRunner().invoke(main, ["serve"], env={"TIDEWIRE_RETRY": "never"})
    assert result.exit_code == 2
    assert "never" in result.stderr


# -- settings


def test_every_setting_is_a_flag_and_a_variable() -> None:
    help = re.sub(r"\s+", " ", CliRunner().invoke(main, ["serve", "--help"]).stdout)
    for name in ROWS:
        assert f"--{name.replace('_', '-')} " in help
        assert f"TIDEWIRE_{name.upper()}" in help


def test_help_lists_the_settings_after_the_options() -> None:
    help = CliRunner().invoke(main, ["serve", "--help"]).stdout
    options, _, settings = help.partition("\nSettings:\n")
    assert options.count("\n  --engine ") == 1
    assert re.findall(r"^  --([a-z-]+)", settings, re.MULTILINE) == [name.replace("_", "-") for name in ROWS]


def test_settings_reach_the_hub_and_the_protocol() -> None:
    environment = {"TIDEWIRE_HEARTBEAT": "7", "TIDEWIRE_MAX_URL_BYTES": "256"}
    with Served("--retry", "3", env=environment) as server:
        with server.connect() as client:
            client.sendall(get("/events/news"))
            data = read_until(client, b"hub.position")
            assert head_of(data)[1]["tidewire-heartbeat"] == "7"
            assert b"retry: 3000\n" in data
        assert head_of(server.ask(get("/events/" + "x" * 300)))[0] == 414


def test_other_addresses_need_the_open_flag() -> None:
    with Process([COMMAND, "serve", "--port", "0", "--host", "0.0.0.0", "--open"]) as server:
        port = int(server.wait_line(r"on http://0\.0\.0\.0:(\d+)").group(1))
        assert "ANYONE" in server.output
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(
                get("/health/live", "Connection: close").replace(b"localhost", b"anything.example")
            )
            assert head_of(read_all(client))[0] == 200


def test_on_loopback_only_its_own_host_names_are_accepted() -> None:
    def status(server: Served, host: bytes) -> int:
        return head_of(server.ask(get("/health/live", "Connection: close").replace(b"localhost", host)))[0]

    with Served("--allowed-host", "hub.test") as server:
        assert status(server, b"localhost") == status(server, b"127.0.0.1:80") == 200
        assert status(server, b"hub.test") == 200
        assert status(server, b"evil.example") == 421


def test_allowed_origins() -> None:
    with Served("--allowed-origin", "https://page.example") as server:
        assert "https://page.example" in server.output
        answer = server.ask(post(b"x", "Origin: https://page.example", "Connection: close", path="/events/a"))
        assert head_of(answer)[0] == 200
        answer = server.ask(
            post(b"x", "Origin: https://other.example", "Connection: close", path="/events/a")
        )
        assert head_of(answer)[0] == 403


# -- logs


def test_requests_are_logged_only_if_asked_for() -> None:
    with Served() as server:
        server.ask(publish("secret"))
        assert server.stop() == 0
        assert "secret" not in server.output
    with Served("--access-log") as server:
        server.ask(publish("a%0d%0ab"))
        server.wait_line('"POST /events/a%0D%0Ab HTTP/1.1" 400')


def test_no_token_is_logged() -> None:
    """Attack D15. The access log has the URLs of refused requests too."""
    text = token(sub="someone")
    head, claims, signature = text.split(".")
    ticket = new_ticket()
    with Served("--access-log", "--log-level", "debug", "--token-key", SECRET) as server:
        server.ask(get(f"/events/a?access_token={text}", "Connection: close"))
        server.ask(get("/events/a", f"Authorization: Bearer {text}x", "Connection: close"))
        server.ask(get(f"/events/a?topic={text}", f"Authorization: Bearer {text}", "Connection: close"))
        server.ask(get(f"/events/a?ticket={ticket}", "Connection: close"))
        server.wait_line(r"access_token=\[secret\] HTTP/1.1\" 400")
        server.wait_line(r'"GET /events/a\?ticket=\[secret\] HTTP/1.1" 401')
        server.wait_line(r'"GET /events/a HTTP/1.1" 401')
        server.wait_line(r'"GET /events/a\?topic=\[token\] HTTP/1.1" 403')
        assert server.stop() == 0
        for part in (head, claims, signature, SECRET, ticket[4:]):
            assert part not in server.output


def test_an_exception_does_not_log_a_token() -> None:
    try:
        raise KeyError(token())
    except KeyError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("tidewire", logging.ERROR, "", 0, "failed", (), info)
    assert "KeyError: '[token]'" in LineFormatter("%(message)s").format(record)


def test_log_lines_are_one_line_each() -> None:
    text = "topic \r\nERROR forged \x1b[2J \u202egnirts \u2028 täst 🌊"
    record = logging.LogRecord("tidewire", logging.INFO, "", 0, "%s", (text,), None)
    line = LineFormatter("%(message)s").format(record)
    assert line == r"topic \r\nERROR forged \u001b[2J \u202egnirts \u2028 täst 🌊"


def test_an_exception_cannot_forge_a_log_line() -> None:
    try:
        raise KeyError("x\n2026-01-01 INFO forged \x1b[2J") from ValueError("a\r\nb")
    except KeyError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("tidewire", logging.ERROR, "", 0, "failed", (), info)
    first, *others = LineFormatter("%(message)s").format(record).splitlines()
    assert first == "failed"
    assert all(line.startswith("    ") and line.isprintable() for line in others)


def test_the_default_limits_are_the_documented_ones() -> None:
    settings = Settings()
    assert (settings.head_timeout, settings.body_timeout) == (10, 30)
    assert (settings.max_head_bytes, settings.max_headers, settings.max_url_bytes) == (32768, 100, 8192)


def test_the_garbage_collector_runs_less_often_while_it_serves() -> None:
    before = gc.get_threshold()
    with fewer_collections():
        assert gc.get_threshold() == GC_THRESHOLDS
        assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
