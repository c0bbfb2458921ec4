"""
The page at `/`, for people who open the address of a hub in a browser. No I/O: a request in, a page out.

It has no script, and asks for nothing elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from string import Template

from .asgi import Headers
from .requests import Request

STYLE = """
:root { color-scheme: light dark; --ground: light-dark(#fdfdfb, #0d1720); --ink: light-dark(#14212b, #e8eff4);
  --soft: light-dark(#55656f, #a3b4c0); --box: light-dark(#f1f5f8, #162430);
  --line: light-dark(#c6d2dc, #324656); --accent: light-dark(#0b7f86, #45c9c4); }
* { box-sizing: border-box; }
body { margin: 0; padding: clamp(1.25rem, 5vw, 4rem); background: var(--ground); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 44rem; margin: auto; }
h1 { margin: 0 0 .5rem; font-size: clamp(1.75rem, 6vw, 2.5rem); line-height: 1.15; letter-spacing: -.02em; }
h1 svg { width: 1.4em; height: .9em; color: var(--accent); vertical-align: -.08em; }
h2 { margin: 2rem 0 .5rem; font-size: 1.05rem; }
p { margin: 0 0 1rem; }
.lead { color: var(--soft); font-size: 1.1rem; }
pre { margin: 0 0 1rem; padding: .85rem 1rem; overflow-x: auto; background: var(--box);
  border: 1px solid var(--line); border-radius: 6px; font: .9rem/1.5 ui-monospace, SFMono-Regular, Menlo,
  Consolas, "Liberation Mono", monospace; }
ul { margin: 0; padding-left: 1.2rem; }
a { color: var(--accent); }
a:focus-visible, pre:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Tidewire hub</title>
<style>$style</style>
</head>
<body>
<main>
<h1><svg viewBox="0 0 44 28" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="3"
stroke-linecap="round" stroke-linejoin="round">
<path d="M2 18c5 0 5.500-12 11-12s5.500 16 11 16 4.500-8 8-8h8"/>
<circle cx="39" cy="14" r="3" fill="currentColor"/></svg> This is a Tidewire hub</h1>
<p class="lead">It sends events to browsers and programs over plain HTTP. Streams are at
<code>/events</code>.</p>
<h2>Try it</h2>
<p>Subscribe in one terminal:</p>
<pre tabindex="0">curl -N ${token}$url/events/news</pre>
<p>Publish in another:</p>
<pre tabindex="0">curl -d hello ${token}$url/events/news</pre>
<p>In a web page:</p>
<pre tabindex="0">const events = new EventSource("$url/events/news");
events.onmessage = (event) =&gt; console.log(event.lastEventId, event.data);</pre>
$access
<h2>Also here</h2>
<ul>
<li><a href="inspect">inspect</a>: what flows through it, for this machine or for admins</li>
<li><a href="health/ready">health/ready</a>: whether it takes streams and publishes</li>
<li><a href="openapi.json">openapi.json</a>: every request it answers</li>
<li><a href="tidewire.js">tidewire.js</a>: the client for browsers, which survives restarts and shares one
connection among tabs</li>
</ul>
</main>
</body>
</html>
""")

NEEDS_TOKEN = """<p>This hub asks for a token. <code>tidewire token make --help</code> says how to make one;
a page gets a cookie for it by <code>POST /session</code>.</p>"""

HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = "; ".join(
    [
        "default-src 'none'",
        f"style-src 'sha256-{HASH}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEAD: Headers = [(b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer")]


def wants_page(request: Request) -> bool:
    """Whether a browser asks, and not a program."""
    return "text/html" in (request.header(b"accept") or "").lower()


def landing_page(request: Request, root: str, takes_tokens: bool) -> bytes:
    """Return the page for the host that `request` names, below the mount point `root`."""
    host = request.header(b"host") or "localhost:8000"
    return PAGE.substitute(
        style=STYLE,
        url=escape(f"{request.scheme}://{host}{root}"),
        token='-H "Authorization: Bearer $TOKEN" ' if takes_tokens else "",
        access=NEEDS_TOKEN if takes_tokens else "",
    ).encode()
