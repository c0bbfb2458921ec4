"""A hub's app as a program would serve it; HUB_OPTIONS has its options as JSON."""

import json
import os

from tidewire import Hub

hub = Hub(**json.loads(os.environ.get("HUB_OPTIONS", "{}")))
app = hub.app
