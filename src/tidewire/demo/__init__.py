"""The demo that `tidewire demo` serves."""

from .app import Demo as Demo
