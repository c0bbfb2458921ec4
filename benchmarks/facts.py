"""The machine and the versions that the figures were measured with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.servers import nchan
from benchmarks.stores import STORES, Store

PACKAGES = ["tidewire", "uvicorn", "uvloop", "httptools", "starlette", "sse-starlette", "fastapi"]
PACKAGES += ["httpx-sse", "httpx2", "sseclient-py", "redis", "psycopg"]


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({processor()}), {memory:.0f} GiB, Linux {platform.release()}"


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return ", ".join(
        [python, *filter(None, map(package, PACKAGES)), *filter(None, [nginx(), *map(store, STORES)])]
    )


def package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def store(server: Store) -> str:
    """Return the first line of what a server that shares logs says of its version."""
    program = server.program()
    if program is None:
        return ""
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip()


def nginx() -> str:
    found = nchan.find()
    if not found:
        return ""
    printed = subprocess.run([found[0], "-v"], capture_output=True, text=True, check=False).stderr
    return f"{printed.rpartition('version: ')[2].strip()} with Nchan"
