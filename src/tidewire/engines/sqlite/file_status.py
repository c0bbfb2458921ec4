"""
What a file is, how many names it has, and how long it is: `os.stat` without the times.

On Linux, since 6.13, a file whose time of change was asked for gets a finer one at its next write, which
is stored with it. Asked before each commit, that cost 30 us of 150. Python's `os.stat` asks for all times.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple


class FileStatus(NamedTuple):
    """`links`: the names that the file has; `size` is in bytes."""

    device: int
    inode: int
    links: int
    size: int


Ask = Callable[[], FileStatus]


def by_stat(path: str) -> FileStatus:
    found = os.stat(path)
    return FileStatus(found.st_dev, found.st_ino, found.st_nlink, found.st_size)


# See statx(2) for the names and the layout, which is the same on all machines.
AT_FDCWD = -100
STATX_NLINK, STATX_INO, STATX_SIZE = 0x4, 0x100, 0x200
WANTED = STATX_NLINK | STATX_INO | STATX_SIZE
# stx_mask, stx_nlink, stx_ino, stx_size, stx_dev_major, stx_dev_minor
LAYOUT = struct.Struct("=I12xI12xQQ88xII")
BYTES = 256


def by_statx(statx: Callable[..., int], path: str) -> Ask:
    name, buffer = os.fsencode(path), ctypes.create_string_buffer(BYTES)
    before: tuple[int, ...] = ()
    status = FileStatus(0, 0, 0, 0)

    def ask() -> FileStatus:
        nonlocal before, status
        if statx(AT_FDCWD, name, 0, WANTED, buffer) == 0:
            found = LAYOUT.unpack_from(buffer)
            if found == before:  # nearly always
                return status
            mask, links, inode, size, major, minor = found
            if mask & WANTED == WANTED:
                before, status = found, FileStatus(os.makedev(major, minor), inode, links, size)
                return status
        # It failed, and so this raises the error; or a sandbox forbids the call.
        return by_stat(path)

    return ask


# A call by PyDLL keeps the GIL: a file that is open is found without its disk, and waiting for the GIL would
# take longer than the call.
STATX: Any = getattr(ctypes.PyDLL(None), "statx", None) if sys.platform == "linux" else None


def status_of(path: str) -> Ask:
    """Return a function that returns the status of the file at `path`. It raises `OSError`; one thread."""
    return partial(by_stat, path) if STATX is None else by_statx(STATX, path)
