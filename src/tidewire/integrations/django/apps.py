"""The app that Django finds in `INSTALLED_APPS`."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.signals import request_started

from .configured import hub_beside
from .publishing import remember_loop


class TidewireConfig(AppConfig):  # type: ignore[misc]
    name = "tidewire.integrations.django"
    label = "tidewire"
    verbose_name = "Tidewire"

    def ready(self) -> None:
        # Under WSGI, Django would start an event loop per request for it.
        if not hub_beside():
            request_started.connect(remember_loop)
