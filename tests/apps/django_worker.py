"""A process of a Django project without an ASGI server, such as a command; its hub is that of TIDEWIRE."""

import json
import os
import sys
from importlib import import_module
from threading import Thread

from django.conf import settings
from django.test import RequestFactory

settings.configure(
    SECRET_KEY="a secret of the tests",
    INSTALLED_APPS=["tidewire.integrations.django"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TIDEWIRE=json.loads(os.environ["TIDEWIRE"]),
)
import_module("django").setup()

from asgiref.sync import async_to_sync  # noqa: E402
from django.core.management import execute_from_command_line  # noqa: E402
from django.db import transaction  # noqa: E402

from tidewire.integrations.django import publish_on_commit, stream  # noqa: E402


def publish(name: str) -> None:
    with transaction.atomic():
        publish_on_commit("news", name)
        publish_on_commit("news", f"{name} too")


match sys.argv[1:]:
    case ["publish"]:
        publish("one")
        threads = [Thread(target=publish, args=[name]) for name in ("two", "three")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    case ["stream"]:
        async_to_sync(stream)(RequestFactory().get("/"), "news")
    case words:
        execute_from_command_line(["manage.py", "tidewire", *words])
