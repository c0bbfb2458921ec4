"""The outcome of a test run, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

# How many of each kind of finding are spelled out.
EXAMPLES = 5


@dataclass(repr=False)
class Report:
    """
    The counts of one test run. All but `acked`, `runs`, `faults` and `repeated_on_wire`
    must be 0.

    `lost_*`: acked or delivered, but not in the log: older than all of it, in between, or newer.
    `unsound_gaps`: events that a subscriber should have had, and that no gap covers.
    `repeated_on_wire`: ids that came again to the same subscriber; `repeated_wrongly` are those that
    it had already confirmed. `doubled`: one publish with two ids.
    `broken_runs`: runs whose items in the log are not the first ones that the producer yields, in its
    order, or that are done without all of them. `second_ends`: terminal entries after the first of the run.
    `items_after_end`: items of a run after its terminal entry. `short_views`: entries of a run that a viewer
    should have had. `false_ends`: streams of a run that ended properly before its terminal entry.
    """

    acked: int = 0
    runs: int = 0
    faults: int = 0
    lost_prefix: int = 0
    lost_middle: int = 0
    lost_postfix: int = 0
    invented: int = 0
    repeated_on_wire: int = 0
    repeated_wrongly: int = 0
    repeated_for_app: int = 0
    reordered: int = 0
    reused_ids: int = 0
    doubled: int = 0
    unsound_gaps: int = 0
    needless_gaps: int = 0
    broken_runs: int = 0
    unended_runs: int = 0
    second_ends: int = 0
    items_after_end: int = 0
    short_views: int = 0
    false_ends: int = 0
    loss_allowed: bool = False
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        return self.lost_prefix + self.lost_middle + self.lost_postfix

    @property
    def ok(self) -> bool:
        """Whether the contract was kept."""
        return not self.broken

    @property
    def broken(self) -> dict[str, int]:
        """The counts that should be 0 and are not."""
        free = {"acked", "runs", "faults", "repeated_on_wire"}
        if self.loss_allowed:
            free |= {"lost_prefix", "lost_middle", "lost_postfix"}
        return {name: count for name, count in self.counts().items() if count and name not in free}

    def counts(self) -> dict[str, int]:
        """Return every count by its name."""
        return {name: value for name, value in vars(self).items() if type(value) is int}

    def counts_as_run(self, min_acked: int) -> bool:
        """Whether there was anything to judge: a fault, and at least `min_acked` acked publishes."""
        return self.faults > 0 and self.acked >= min_acked

    def found(self, name: str, what: str) -> None:
        setattr(self, name, getattr(self, name) + 1)
        some = self.examples.setdefault(name, [])
        if len(some) < EXAMPLES:
            some.append(what)

    def __str__(self) -> str:
        lines = [
            "kept" if self.ok else "BROKEN",
            *(f"{n:>18}: {count}" for n, count in self.counts().items()),
        ]
        for name, some in self.examples.items():
            lines += [f"{name}:", *(f"    {what}" for what in some)]
        return "\n".join(lines)

    __repr__ = __str__
