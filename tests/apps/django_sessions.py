"""The programs of docs/how-to/sessions.md for Django, in a project of one file; DATABASE is its file."""

import os
import sys
import types
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="a secret of the tests",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)

asgi = types.ModuleType("project.asgi")
views = types.ModuleType("project.views")
views.__package__ = "project"
sys.modules |= {"project": types.ModuleType("project"), "project.asgi": asgi, "project.views": views}

for module, text in ((asgi, os.environ["ASGI"]), (views, os.environ["VIEWS"])):
    exec(compile(text, module.__name__, "exec"), module.__dict__)

from django.contrib.auth import alogin  # noqa: E402 - the program loads the settings
from django.contrib.auth.models import User  # noqa: E402


async def log_in(request: Any, name: str) -> HttpResponse:
    user, _ = await User.objects.aget_or_create(username=name)
    await alogin(request, user)
    return HttpResponse(str(user.pk))


urlpatterns = [path("login/<name>", log_in), path("logout", views.log_out)]
call_command("migrate", verbosity=0)
app = asgi.application
hub = asgi.hub
