"""What a fault is, what it gets and what it returns."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tidewire.testing.checker import Report

Tier = Literal["smoke", "full", "soak"]

# Which faults each tier runs: `full` includes `smoke`; `soak` is separate.
INCLUDED: dict[Tier, tuple[Tier, ...]] = {"smoke": ("smoke",), "full": ("smoke", "full"), "soak": ("soak",)}

# A run with fewer acked events proves nothing. Smoke runs are short.
LEAST_ACKED: dict[Tier, int] = {"smoke": 100, "full": 1000, "soak": 10_000}


@dataclass(frozen=True)
class Context:
    """
    One run of one fault.

    `folder` is an empty directory that is removed afterwards. `engine` is the kind of engine (`sqlite` or
    `memory`) for faults that do not choose one. `runs` is how often the user wants the fault, or None.
    """

    tier: Tier
    folder: Path
    engine: str
    runs: int | None
    say: Callable[[str], None]

    @property
    def smoke(self) -> bool:
        return self.tier == "smoke"

    def times(self, smoke: int, full: int) -> int:
        """Return how often to do it: as the user chose, otherwise by the tier."""
        return self.runs or (smoke if self.smoke else full)

    def engine_url(self, folder: Path | None = None) -> str:
        """Return the URL of the engine; its file is in `folder`, or in this run's folder."""
        return "memory" if self.engine == "memory" else f"sqlite:///{folder or self.folder}/events.db"

    @property
    def least_acked(self) -> int:
        return LEAST_ACKED[self.tier]


@dataclass(frozen=True)
class Bar:
    """A promise, and whether it was kept; `measured` is shown in the table."""

    text: str
    measured: str
    met: bool


def at_most(text: str, measured: float, limit: float, unit: str = "s") -> Bar:
    return Bar(f"{text} <= {limit:g} {unit}", f"{measured:.3g} {unit}", measured <= limit)


def exactly(text: str, measured: object, wanted: object) -> Bar:
    return Bar(f"{text} = {wanted}", f"{measured}", measured == wanted)


@dataclass
class Result:
    """
    The outcome of a fault.

    `happened`: how often it really happened, counted in `unit` ("10 kills"). `acked`: how many events
    were acked while it was tried. `reports`: the checker's, one per run; all their failure counts must be
    0. `needless_allowed`: whether needless gaps are allowed here. `figures` and `bars` go into the table.
    """

    happened: int
    unit: str
    acked: int = 0
    reports: Sequence[Report] = ()
    figures: Sequence[str] = ()
    bars: Sequence[Bar] = ()
    needless_allowed: bool = False
    note: str = ""


@dataclass(frozen=True)
class Fault:
    """
    One row of the suite.

    `needs`: "root" or names of programs; without them the fault is skipped, and the table says so.
    `least_acked`: overrides the tier's, for faults whose point is not the load.
    """

    id: str
    title: str
    tier: Tier
    run: Callable[[Context], Result]
    needs: Sequence[str] = field(default=())
    least_acked: int | None = None

    def missing(self) -> list[str]:
        """Return what it needs that this machine lacks."""
        return [need for need in self.needs if not present(need)]


def present(need: str) -> bool:
    if need == "root":
        return os.geteuid() == 0
    return shutil.which(need) is not None or Path(need).exists()


class NotPossible(Exception):
    """This machine cannot produce the fault, which is skipped; the table says so."""
