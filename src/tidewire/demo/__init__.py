"""The article's two servers. `tidewire demo` serves them."""

from .app import Demo as Demo
