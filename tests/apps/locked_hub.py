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
url = options.pop("url", "memory")
origins = options.pop("allowed_origins", ())
mount = options.pop("mount", None)
hub_options = options.pop("hub", {})
tokens = Tokens(*keys, anonymous=anonymous and Grant(**anonymous), **options)
hub = Hub(url, auth=tokens, allowed_origins=origins, **hub_options)
app = Starlette(routes=[Mount(mount, hub.app)], lifespan=hub.lifespan) if mount else hub.app
