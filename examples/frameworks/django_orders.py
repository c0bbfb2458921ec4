"""
A hub in a Django project of one file. `uvicorn examples.frameworks.django_orders:app` or
`daphne examples.frameworks.django_orders:app`
"""

import asyncio
import time
from collections.abc import AsyncIterator

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from tidewire import Event, EventStreamResponse
from tidewire.integrations.django import publish_on_commit, respond, stream

settings.configure(
    SECRET_KEY="not a secret: this example signs nothing",
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["tidewire.integrations.django"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TIDEWIRE={},  # {"url": "sqlite:///events.db"} keeps the log in a file
)


async def events(request: HttpRequest, id: str) -> StreamingHttpResponse:
    return await stream(request, f"orders/{id}")


def pay(request: HttpRequest, id: str) -> HttpResponse:
    # In a transaction it is published when that is committed.
    publish_on_commit(f"orders/{id}", {"status": "paid"}, event="status")
    return HttpResponse(status=204)


async def clock(request: HttpRequest) -> StreamingHttpResponse:
    async def ticks() -> AsyncIterator[Event]:
        while True:
            yield Event(time.ctime(), event="tick")
            await asyncio.sleep(1)

    return await respond(request, EventStreamResponse(ticks()))


urlpatterns = [path("orders/<id>/events", events), path("orders/<id>/pay", pay), path("clock", clock)]
app = get_asgi_application()
