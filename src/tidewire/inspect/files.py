"""
The page of the inspector and its files: what is in `web/inspect`, as it is there.
"""

from __future__ import annotations

import re
from importlib.resources import files

from ..errors import NotFound
from ..http.answers import content_head, content_type
from ..http.asgi import Headers

# Also streams of other servers may be tried, by the browser; nothing else is loaded from them.
POLICY = (
    "default-src 'self'; connect-src 'self' http: https:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEAD: Headers = [
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]
PAGE = "index.html"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\.[a-z]{2,5}")


def is_file(name: str) -> bool:
    """Whether `name` is that of a file, and not of one of the inspector's requests."""
    return NAME.fullmatch(name) is not None


def read_file(name: str) -> tuple[Headers, bytes]:
    """Return the head and the content of a file. Raises `NotFound`."""
    file = files("tidewire.web").joinpath("inspect").joinpath(name)
    if not is_file(name) or not file.is_file():
        raise NotFound("the inspector has no such file")
    content = file.read_bytes()
    return content_head(content_type(name), len(content)) + HEAD, content
