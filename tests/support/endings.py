"""What a process of tests does at the end of its run, such as stopping a server that its tests share."""

from __future__ import annotations

import contextlib

# `pytest_sessionfinish` in conftest.py closes it. `atexit` is too late for what takes long on a busy machine:
# pytest-xdist kills a process that has not exited ten seconds after its tests.
AT_END = contextlib.ExitStack()
