"""The programs of the pages for those who move in that need a hub beside them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.documents import blocks, serving
from tidewire import Hub
from tidewire.client.sync import Publisher, history, publish

# Settings of Django are for a whole process, so this is one of its own.
DJANGO = """
import sys

import django
from django.conf import settings
from django.db import transaction

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()


class Order:
    pk = 7
    saved = 0

    def save(self):
        self.saved += 1


program = {}
exec(sys.stdin.read(), program)
order = Order()
try:
    with transaction.atomic():
        program["pay"](order)
        raise LookupError
except LookupError:
    pass
with transaction.atomic():
    program["pay"](order)
assert (order.saved, order.status) == (2, "paid")
"""


def test_django_publishes_after_the_commit() -> None:
    pytest.importorskip("django", reason="django is not installed")
    (block,) = blocks("python", "docs/how-to/from-django-eventstream.md")
    with serving(Hub(per_process=True).app) as url:
        text = block.text.replace("http://localhost:8080", url)
        subprocess.run([sys.executable, "-c", DJANGO], input=text, text=True, check=True)
        events = history(url, "orders/7").events
    assert [(event.event, event.json()) for event in events] == [("status", {"status": "paid"})]


def test_a_view_of_flask_publishes() -> None:
    (block,) = blocks("python", "docs/how-to/from-flask-sse.md")
    with serving(Hub(per_process=True).app) as url:
        program: dict[str, object] = {}
        exec(compile(block.text.replace("http://localhost:8080", url), block.place, "exec"), program)
        view, hub = program["publish_hello"], program["hub"]
        assert callable(view)
        assert isinstance(hub, Publisher)
        with hub:
            assert view() == "Message sent!"
        events = history(url, "news").events
    assert [(event.event, event.json()) for event in events] == [("greeting", {"message": "Hello!"})]


def test_a_program_polls_a_hub(capsys: pytest.CaptureFixture[str]) -> None:
    *_, block = blocks("python", "docs/how-to/from-polling.md")
    with serving(Hub(per_process=True).app) as url:
        receipt = publish(url, "orders", "changed")
        exec(compile(block.text.replace("http://localhost:8000", url), block.place, "exec"), {})
    assert capsys.readouterr().out == f"{receipt['id']} changed\n0 None\n"
