"""The hub with the loop probe, and the garbage collector as `tidewire serve` sets it."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.servers.hub import probed
from tidewire.server.run import fewer_collections

# Kept, so that the settings last as long as the process.
settings = ExitStack()
settings.enter_context(fewer_collections())

app = probed
