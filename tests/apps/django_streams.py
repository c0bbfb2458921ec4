"""A Django project in one file, with streams of the hub of `settings.TIDEWIRE`; FOLDER holds its files."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from django.conf import settings

FOLDER = Path(os.environ["FOLDER"])

settings.configure(
    SECRET_KEY="a secret of the tests",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "tidewire.integrations.django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "django.db"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    TIDEWIRE=json.loads(os.environ["TIDEWIRE"]),
)

from django.core.asgi import get_asgi_application  # noqa: E402 - it loads the settings

app = get_asgi_application()

from django.contrib.auth import alogin  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

from tidewire import EventStreamResponse  # noqa: E402
from tidewire.integrations.django import get_hub, publish_on_commit, respond, stream, user_stream  # noqa: E402

connections: list[Any] = []
done: list[str] = []


def remember(connection: Any, **_: Any) -> None:
    connections.append(connection)


connection_created.connect(remember)


async def news(request: Any, name: str) -> Any:
    return await stream(request, name, control="plain" not in request.GET)


async def own(request: Any) -> Any:
    return await user_stream(request, "news")


async def words(request: Any) -> Any:
    async def generator() -> Any:
        try:
            yield "first"
            if "fails" in request.GET:
                raise ValueError("of the program")
            if "waits" in request.GET:
                await asyncio.sleep(1000)
        finally:
            done.append("generator")

    return await respond(request, EventStreamResponse(generator()))


async def dropped(request: Any) -> Any:
    """A program that gives up a stream that it has begun."""
    await stream(request, "dropped")
    return HttpResponse("another response")


async def publish(request: Any, name: str) -> Any:
    receipt = await get_hub().publish(name, request.body)
    return HttpResponse(str(receipt.position))


async def end(request: Any, name: str) -> Any:
    await get_hub().end(name)
    return HttpResponse()


async def kick(request: Any, name: str) -> Any:
    await get_hub().kick(name)
    return HttpResponse()


async def log_in(request: Any, name: str) -> Any:
    user, _ = await User.objects.aget_or_create(username=name)
    group, _ = await Group.objects.aget_or_create(name="editors")
    await user.groups.aadd(group)
    await alogin(request, user)
    return JsonResponse({"user": user.pk, "group": group.pk})


def rename(request: Any, name: str) -> Any:
    """A transaction that publishes: it is committed, or fails after that, or its event is not valid."""
    outcome = request.GET.get("outcome")
    try:
        with transaction.atomic():
            User.objects.create(username=name)
            data = {"name": name}
            publish_on_commit("*" if outcome == "invalid" else "names", data, event="name")
            data["name"] = "changed later"
            if outcome == "rollback":
                raise LookupError
    except (LookupError, ValueError) as error:
        return HttpResponse(repr(error), status=409)
    page = get_hub().history_soon("names", since="last:1").result()
    return JsonResponse({"newest": [event.data for event in page.events]})


async def in_async_code(request: Any) -> Any:
    try:
        publish_on_commit("names", "x")
    except Exception as error:
        return HttpResponse(type(error).__name__)


async def exists(request: Any, name: str) -> Any:
    return JsonResponse(await User.objects.filter(username=name).aexists(), safe=False)


async def state(request: Any) -> Any:
    open_ = sum(connection.connection is not None for connection in connections)
    return JsonResponse(
        {
            "streams": [item.sub for item in get_hub().streams()],
            "connections": open_,
            "done": done,
        }
    )


urlpatterns = [
    path("news/<path:name>", news),
    path("own", own),
    path("words", words),
    path("dropped", dropped),
    path("publish/<path:name>", publish),
    path("end/<path:name>", end),
    path("kick/<name>", kick),
    path("login/<name>", log_in),
    path("state", state),
    path("rename/<name>", rename),
    path("async", in_async_code),
    path("exists/<name>", exists),
]
call_command("migrate", verbosity=0)
connection.close()
