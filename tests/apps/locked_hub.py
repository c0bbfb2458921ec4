"""A hub with keys; HUB_OPTIONS has the arguments of its `Tokens`, and `anonymous`, as JSON."""

import json
import os

from tidewire import Grant, Hub, Tokens

options = json.loads(os.environ["HUB_OPTIONS"])
keys = options.pop("keys", [])
anonymous = options.pop("anonymous", None)
hub = Hub(auth=Tokens(*keys, anonymous=anonymous and Grant(**anonymous), **options))
app = hub.app
