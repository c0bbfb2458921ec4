"""The bars, and the table that shows which of them are met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.measure import Samples

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- benchmarks -->\n", "\n<!-- /benchmarks -->"

HEADER = ["measure", "tidewire", "others in the same run", "bar", "measured", "met"]


@dataclass(frozen=True)
class Bar:
    """A promise about a figure: `measured` is at most `limit`, or at least."""

    text: str
    measured: float
    limit: float
    unit: str = "x"
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def figure(self) -> str:
        # Large figures with commas instead of an exponent.
        return f"{self.measured:,.0f}" if self.measured >= 1_000 else f"{self.measured:.3g}"

    def cells(self) -> list[str]:
        return [self.text, f"{self.figure} {self.unit}", "yes" if self.met else "**no**"]


@dataclass(frozen=True)
class Row:
    measure: str
    ours: str
    others: str = ""
    bars: Sequence[Bar] = ()

    def cells(self) -> list[list[str]]:
        """Return one table row per bar; the figures are in the first."""
        first, *more = [bar.cells() for bar in self.bars] or [["", "", ""]]
        return [[self.measure, self.ours, self.others, *first], *(["", "", "", *cells] for cells in more)]


def markdown(header: Sequence[str], groups: Iterable[Iterable[Sequence[str]]]) -> str:
    lines = [header, ["---"] * len(header)] + [cells for group in groups for cells in group]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_into(page: Path, text: str) -> None:
    """Replace what is between the two markers of a page."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}{text}{END}{after}", "utf-8")


def ratio(samples: Samples, over: tuple[str, str], under: tuple[str, str]) -> float:
    """Return the median over the rounds of one figure divided by the other of the same round."""
    return median(a / b for a, b in zip(samples[over], samples[under], strict=True))


def figures(samples: Samples, measure: str, names: Iterable[str], unit: str = "us") -> str:
    """Return "name figure unit" for each system that has this measure."""
    present = [name for name in names if (measure, name) in samples]
    return ", ".join(f"{name} {median(samples[measure, name]):.3g} {unit}" for name in present)
