"""Proxies and certificates of the environment: used where a URL needs them, and named where wrong."""

from __future__ import annotations

import sys

import httpx2
import pytest

from support.clients import Client, data, follow
from support.scripted import Scripted, stream
from support.socks import socks_proxy
from tidewire.client.core import ways
from tidewire.errors import TidewireError

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(ways, "certificates", ways.certificates.__wrapped__)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("all_proxy", "socks://127.0.0.1:9"),
        ("HTTP_PROXY", "nonsense://["),
        ("SSL_CERT_FILE", "/nope"),
    ],
)
def test_a_stream_of_this_machine_needs_none_of_them(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with Scripted(stream(b"data: a\n\n")) as server, follow(client, server) as events:
        assert data(events) == ["a"]


@pytest.mark.parametrize(
    ("name", "value", "url", "problem"),
    [
        ("all_proxy", "socks://127.0.0.1:9", "http://example.test", "all_proxy: socks:// is not one of"),
        ("HTTPS_PROXY", "ftp://127.0.0.1:9", "https://example.test", "HTTPS_PROXY: ftp:// is not one of"),
        ("HTTP_PROXY", "http://a:b:c", "http://example.test", "the proxy of HTTP_PROXY: "),
        ("SSL_CERT_FILE", "/nope", "https://example.test", "SSL_CERT_FILE: no such file or directory"),
    ],
)
def test_what_a_url_needs_and_is_wrong_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str, value: str, url: str, problem: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(TidewireError) as caught:
        next(client.connect(url))
    assert problem in str(caught.value)


def test_socks_needs_an_extra(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(
        TidewireError, match=r"ALL_PROXY: SOCKS needs an extra: pip install 'tidewire\[socks\]'"
    ):
        next(client.connect("http://example.test"))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_stream_through_a_socks_proxy(client: Client, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """With the real package that the extra installs. The name is resolved by the proxy."""
    pytest.importorskip("socksio")
    scripts = (stream(b"id: 1\ndata: a\n\n"), stream(b"data: b\n\n"))
    with socks_proxy() as proxy, Scripted(*scripts, host="example.test") as server:
        monkeypatch.setenv("ALL_PROXY", proxy.url.replace("socks5", scheme))
        with follow(client, server) as events:
            assert data(events) == ["a", "b"]
    assert set(proxy.targets) == {f"example.test:{server.port}"}
    assert [request.get("Last-Event-ID") for request in server.requests[:2]] == [None, b"1"]


def test_the_proxy_of_the_environment_is_used(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted(stream(b"data: a\n\n")) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url.removeprefix("http://"))
        assert data(client.connect("http://example.test/a?b", reconnect=False)) == ["a"]
    assert proxy.requests[0].target == "http://example.test/a?b"


@pytest.mark.parametrize(
    ("names", "url", "proxied"),
    [
        ("example.test", "http://example.test", False),
        ("example.test", "http://www.example.test", False),
        (".example.test", "http://www.example.test", False),
        ("*.example.test", "http://www.example.test", False),
        ("example.test", "http://wwwexample.test", True),
        ("example.test:81", "http://example.test:81", False),
        ("example.test:81", "http://example.test:82", True),
        ("other.test, example.test", "http://EXAMPLE.test", False),
        ("10.0.0.0/8", "http://10.1.2.3", False),
        ("10.0.0.0/8", "http://11.1.2.3", True),
        ("fd00::/8", "http://[fd00::1]", False),
        ("*", "http://example.test", False),
        ("", "http://example.test", True),
    ],
)
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, names: str, url: str, proxied: bool) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test")
    monkeypatch.setenv("NO_PROXY", names)
    assert (ways.proxy_for(httpx2.URL(url)) == "http://proxy.test") == proxied
