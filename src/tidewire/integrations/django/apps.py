"""The app that Django finds in `INSTALLED_APPS`."""

from __future__ import annotations

from django.apps import AppConfig


class TidewireConfig(AppConfig):  # type: ignore[misc]
    name = "tidewire.integrations.django"
    label = "tidewire"
    verbose_name = "Tidewire"
