"""
Where nodes report in the server: a key for each node, which lives as long as the node does.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...log.remote_presence import LEASE, Report
from .keys import Keys
from .link import Link, good

LEASE_MS = round(LEASE * 1000)


class RedisPresence:
    """Implements `PresenceStore` for the node `name`."""

    def __init__(self, link: Link, keys: Keys, name: str) -> None:
        self._link = link
        self._keys = keys
        self._name = name
        self._text = b"[false,false]\n"
        self._versions: dict[str, int] = {}

    async def exchange(self, text: bytes | None) -> Mapping[str, Report]:
        nodes = await self._sign(text)
        others = [name for name in nodes if name != self._name]
        if not others:
            self._versions = {}
            return {}
        changed = [name for name in others if self._versions.get(name) != nodes[name]]
        replies = await self._link.call(
            *((b"EXISTS", self._keys.node(name)) for name in others),
            *((b"GET", self._keys.node(name)) for name in changed),
        )
        alive = dict(zip(others, (good(reply) == 1 for reply in replies), strict=False))
        texts = dict(zip(changed, map(good, replies[len(others) :]), strict=True))
        self._versions = {name: nodes[name] for name in others if name not in texts or texts[name]}
        return {name: Report(alive[name], texts.get(name)) for name in others}

    async def _sign(self, text: bytes | None) -> dict[str, int]:
        """Give a sign of life, and return all nodes with the numbers of their reports."""
        keys, new = self._keys, text is not None
        self._text = text or self._text
        while True:
            own = keys.node(self._name)
            report = (
                ((b"SET", own, self._text, b"PX", LEASE_MS), (b"HINCRBY", keys.nodes, self._name, 1))
                if new
                else ((b"PEXPIRE", own, LEASE_MS),)
            )
            kept, *_, found = map(good, await self._link.call(*report, (b"HGETALL", keys.nodes)))
            nodes = {name.decode(): int(n) for name, n in zip(found[::2], found[1::2], strict=True)}
            if new or (kept and self._name in nodes):
                return nodes
            new = True  # the server has forgotten this node

    async def bury(self, name: str) -> bool:
        gone, _ = await self._link.call((b"HDEL", self._keys.nodes, name), (b"DEL", self._keys.node(name)))
        return bool(good(gone))

    async def leave(self) -> None:
        await self.bury(self._name)
