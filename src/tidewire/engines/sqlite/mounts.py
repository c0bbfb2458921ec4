"""
Which file system a log is on, and those on which SQLite's WAL loses data without an error.

A WAL needs memory that all its users share, and locks that hold. File systems that are reached over a
network, or from inside a virtual machine, promise both and keep neither.
"""

from __future__ import annotations

import re
import sys

from ...errors import StartRefused

MOUNTS = "/proc/self/mountinfo"

OF_A_NETWORK = {
    "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "orangefs", "smb2", "smb3", "smbfs",
}  # fmt: skip
# `fakeowner` is what Docker Desktop puts on folders of the host.
OF_A_VIRTUAL_MACHINE = {"9p", "fakeowner", "prl_fs", "vboxsf", "virtiofs", "vmhgfs"}
# Behind a name that begins with `fuse.` there may be anything, except behind this one: the layers of a
# container on the local disk, whose files no other kernel can open. (`fuseblk` is always a local disk.)
LOCAL_FUSE = "fuse.fuse-overlayfs"


def refuse_shared(path: str) -> None:
    """Raises `StartRefused` if `path`, which has no symbolic links, is on a file system that loses data."""
    kind = shared_file_system(mounts(), path)
    if kind:
        raise StartRefused(
            f"the log {path} is on the file system {kind}, where SQLite would lose data without an error;"
            " in a container use a named volume, elsewhere a local disk"
        )


def mounts() -> str:
    """Return the mounts of this process; empty if the system does not list them."""
    if sys.platform != "linux":
        return ""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def shared_file_system(mounts: str, path: str) -> str:
    """Return the type of the file system of `path` if a log must not be on it, otherwise an empty text."""
    kind = file_system(mounts, path)
    fuse = kind == "fuse" or (kind.startswith("fuse.") and kind != LOCAL_FUSE)
    return kind if fuse or kind in OF_A_NETWORK | OF_A_VIRTUAL_MACHINE else ""


def file_system(mounts: str, path: str) -> str:
    """Return the type of the file system of `path`, by the text of `mountinfo`; empty if it is not known."""
    longest, kind = "", ""
    for line in mounts.splitlines():
        mount, _, system = line.partition(" - ")
        fields, (name, *_) = mount.split(" "), system.split(" ")
        if len(fields) < 5 or not name:
            continue
        point = unescaped(fields[4])
        # What is mounted over another mount comes later and hides it.
        if contains(point, path) and len(point) >= len(longest):
            longest, kind = point, name
    return kind


def contains(point: str, path: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def unescaped(text: str) -> str:
    """Return a path as it is: spaces and other separators are written as `\\040`."""
    # The escapes are bytes, and all of them are ASCII.
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
