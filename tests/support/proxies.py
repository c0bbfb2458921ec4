"""The proxies of docs/how-to/proxies.md, run with the configurations that the page shows."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.documents import blocks
from support.ports import free_port
from support.processes import Process

PAGE = "docs/how-to/proxies.md"

# What the page leaves out: files go to the folder, nothing runs in the background, and to stop takes no time.
NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {shown}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
    grace_period 1ms
}}
{shown}
"""

# The address at which each configuration listens, and the same on this machine only.
LISTENS = {
    "nginx": ("listen 80;", "listen 127.0.0.1:{port};"),
    "haproxy": ("bind :80", "bind 127.0.0.1:{port}"),
    "caddy": ("hub.example.com {{", "http://127.0.0.1:{port} {{"),
}


def program(name: str) -> str:
    """Return the path of a proxy; skip the calling test if it is not installed."""
    # Debian has some of them where only root looks.
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed: `make test` as root installs it")
    return path


def configuration(name: str, nodes: Sequence[int], port: int) -> str:
    """Return the page's configuration for these ports."""
    # The first one is the whole server; another shows what to add to it.
    block, *_ = blocks(name, PAGE)
    shown, wanted = (text.format(port=port) for text in LISTENS[name])
    changes = [(shown, wanted), *((f":{8001 + index}", f":{node}") for index, node in enumerate(nodes))]
    text = block.text
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def command(name: str, folder: Path, shown: str) -> list[str | Path]:
    """Write the whole configuration and return the command that runs the proxy."""
    path = folder / f"{name}.conf"
    if name == "nginx":
        # As root, it would switch to a user that cannot write to our folder.
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
        path.write_text(NGINX.format(user=user, folder=folder, shown=shown))
        return [program(name), "-p", folder, "-e", "stderr", "-c", path]
    if name == "haproxy":
        path.write_text(shown)
        return [program(name), "-f", path]
    path.write_text(CADDY.format(shown=shown))
    return [program(name), "run", "--adapter", "caddyfile", "--config", path]


@contextmanager
def proxy(name: str, folder: Path, nodes: Sequence[int]) -> Iterator[str]:
    """Run a proxy before the nodes at these ports; yield its URL."""
    port = free_port()
    argv = command(name, folder, configuration(name, nodes, port))
    with Process(argv, cwd=folder, env={"HOME": str(folder)}) as process:
        process.wait_port(port)
        yield f"http://127.0.0.1:{port}"
