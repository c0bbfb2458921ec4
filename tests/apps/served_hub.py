"""A hub's app as a program would serve it; its options come as JSON in HUB_OPTIONS."""

import json
import os

from tidewire import Hub

hub = Hub(**json.loads(os.environ.get("HUB_OPTIONS", "{}")))
app = hub.app
