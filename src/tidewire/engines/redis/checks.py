"""
Whether a server may have a log, and what an acknowledged event survives there.
"""

from __future__ import annotations

import logging

from ...errors import StartRefused, TidewireError, Unavailable
from ...log.engine import Durability
from .link import Link, Server

logger = logging.getLogger("tidewire")

# XTRIM MINID came with it.
OLDEST_VERSION = (6, 2)

WEAKER = {
    "memory": "it keeps nothing on disk: set appendonly yes and appendfsync always",
    "process": "a power cut loses the events of its last second: set appendfsync always",
}


def check_server(server: Server) -> None:
    """Raises `StartRefused` if the server is too old, or may drop the log when its memory is full."""
    info = server.info
    version = info.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST_VERSION:
        raise StartRefused(
            f"the server {server.place} has Redis {version}; a log needs 6.2 or newer, or Valkey"
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys-"):
        raise StartRefused(
            f"the server {server.place} would drop the log when its memory is full: its maxmemory-policy is"
            f" {policy}. Set it to noeviction, or use a server of its own for the log"
        )
    if info.get("cluster_enabled") == "1" and info.get("redis_mode") == "cluster":
        logger.debug("%s is a node of a cluster; the keys of the log have one hash tag", server.place)


async def durability_of(link: Link, server: Server) -> Durability:
    """Return what an acknowledged event survives, by the settings of the server; log it if that is little."""
    durability: Durability = "memory"
    if server.info.get("aof_enabled") == "1":
        durability = "disk" if await fsync_of(link) == "always" else "process"
    if durability in WEAKER:
        logger.warning("the server %s is not durable: %s", server.place, WEAKER[durability])
    return durability


async def fsync_of(link: Link) -> str:
    try:
        found = await link.ask(b"CONFIG", b"GET", b"appendfsync")
        return bytes(found[1]).decode() if found else ""
    except (TidewireError, Unavailable):
        return ""  # the user may not ask, or the provider has removed the command
