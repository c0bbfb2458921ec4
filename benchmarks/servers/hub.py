"""
Our hub as an ASGI program; the server's flags choose the way to the socket.

    uvicorn benchmarks.servers.hub:app                 the portable way
    uvicorn benchmarks.servers.hub:probed --http ...   the same, with the loop probe at /probe
"""

from __future__ import annotations

from benchmarks.servers.probe import Probe
from tidewire import Hub

hub = Hub()
app = hub.app
probed = Probe(app)
