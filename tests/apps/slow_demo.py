"""The demo with time to break things: an event each half second, for four minutes. Takes the seed."""

import sys

from tidewire import Hub
from tidewire.demo import Demo
from tidewire.server.run import serve

hub = Hub(allowed_hosts=())
serve(
    Demo(hub, seed=int(sys.argv[1]), interval=0.5, events=480, allowed_hosts=()),
    settings=hub.settings,
    port=0,
    started=lambda urls: print(f"{urls[0]}/demo", flush=True),
)
