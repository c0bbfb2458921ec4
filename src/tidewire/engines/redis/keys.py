"""
The keys of a log in the server. They have one hash tag, so that a cluster keeps them together.
"""

from __future__ import annotations


class Keys:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        tag = f"{{{prefix}}}"
        self.log = f"{tag}:log"
        """The entries: a stream."""
        self.meta = f"{tag}:meta"
        """Its head, floor and lives: a hash."""
        self.marks = f"{tag}:marks"
        """The topics of trimmed entries by the newest offset: a sorted set."""
        self.keys = f"{tag}:keys"
        """The keys of publishers: a hash, by the names that `judging.name_of` makes."""
        self.keyline = f"{tag}:keyline"
        """The keys in the order of their times: a list."""
        self.records = f"{tag}:records"
        """What is kept outside retention: a hash."""
        self.turn = f"{tag}:turn"
        """Which node goes first, for a moment."""
        self.nodes = f"{tag}:nodes"
        """The nodes, and how often each has reported: a hash."""

    def node(self, name: str) -> str:
        """What a node reports. The key lives as long as the node does."""
        return f"{{{self.prefix}}}:node:{name}"

    @property
    def lasting(self) -> tuple[str, ...]:
        return (self.log, self.meta, self.marks, self.keys, self.keyline, self.records)
