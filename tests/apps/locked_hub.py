"""
A hub with keys. HUB_OPTIONS has the arguments of its `Tokens`, and `anonymous`, as JSON; also `url`,
`allowed_origins`, the arguments of `hub`, and `mount`, the path that it is mounted at.
"""

import json
import os

from starlette.applications import Starlette
from starlette.routing import Mount

from tidewire import Grant, Hub, Tokens

options = json.loads(os.environ["HUB_OPTIONS"])
keys = options.pop("keys", [])
anonymous = options.pop("anonymous", None)
mount = options.pop("mount", None)
hub_options = options.pop("hub", {})
for name in ("url", "allowed_origins"):
    if name in options:
        hub_options[name] = options.pop(name)
tokens = Tokens(*keys, anonymous=anonymous and Grant(**anonymous), **options)
hub = Hub(auth=tokens, **hub_options)
app = Starlette(routes=[Mount(mount, hub.app)], lifespan=hub.lifespan) if mount else hub.app
