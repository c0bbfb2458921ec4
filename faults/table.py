"""The table: what was done, what the checker counted, the figures, and whether all bars were met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from faults.scenario import Context, Fault, Result
from tidewire.testing.checker import Report

HEADER = ["fault", "done", "checker", "figures", "met"]


@dataclass
class Row:
    """One fault after its runs; `skipped` or `broken` is why there is no result."""

    fault: Fault
    result: Result | None = None
    skipped: str = ""
    broken: str = ""
    failures: list[str] = field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether nothing failed. A skipped fault failed nothing; its row says that it was skipped."""
        return not self.broken and not self.failures

    def cells(self) -> list[str]:
        title = f"{self.fault.id}: {self.fault.title}"
        if self.result is None:
            verdict = f"skipped: {self.skipped}" if self.skipped else "**no**"
            return [title, "", "", self.broken, verdict]
        verdict = "**no**: " + "; ".join(self.failures) if self.failures else "yes"
        return [title, done(self.result), counts(self.result), figures(self.result), verdict]


def judge(fault: Fault, context: Context, result: Result) -> Row:
    """Return the row of a result, with all of its failures."""
    least = context.least_acked if fault.least_acked is None else fault.least_acked
    failures = []
    if not result.happened:
        failures.append("does not count: no fault happened")
    if result.acked < least:
        failures.append(f"does not count: {result.acked} acked, needs {least}")
    failures += [f"{name} {count}" for name, count in failed_counts(result).items() if count]
    failures += [f"{bar.text}: {bar.measured}" for bar in result.bars if not bar.met]
    return Row(fault, result, failures=failures)


# The checker's counts that a fault may leave above 0.
INFORMATION = ("acked", "runs", "faults", "repeated_on_wire")


def failed_counts(result: Result) -> dict[str, int]:
    """Return the counts that must be 0, summed over the runs."""
    total: Counter[str] = Counter()
    for report in result.reports:
        total.update({name: count for name, count in report.counts().items() if is_bar(report, name)})
    if result.needless_allowed:
        total.pop("needless_gaps", None)
    return dict(total)


def is_bar(report: Report, name: str) -> bool:
    return name not in INFORMATION and not (report.loss_allowed and name.startswith("lost_"))


def counts(result: Result) -> str:
    """Return the checker's counts in words."""
    if not result.reports:
        return ""
    total: Counter[str] = Counter()
    for report in result.reports:
        total.update(report.counts())
    lost = str(sum(total[name] for name in ("lost_prefix", "lost_middle", "lost_postfix")))
    if any(report.loss_allowed for report in result.reports):
        lost += " (allowed)"
    names = ["invented", "repeated_for_app", "repeated_wrongly", "reordered", "reused_ids", "doubled"]
    wrong = sum(total[name] for name in names)
    if any(report.runs for report in result.reports):
        return (
            f"{total['runs']} runs: lost {lost}, invented, repeated or reordered {wrong}, {run_counts(total)}"
        )
    return (
        f"lost {lost}, invented, repeated or reordered {wrong}, gaps unsound {total['unsound_gaps']},"
        f" needless {total['needless_gaps']}; repeated on the wire {total['repeated_on_wire']}"
    )


def run_counts(total: Counter[str]) -> str:
    broken = total["broken_runs"] + total["items_after_end"]
    ends = total["unended_runs"] + total["second_ends"]
    views = total["short_views"] + total["false_ends"]
    return f"broken {broken}, without exactly one end {ends}, not whole for a viewer {views}"


def done(result: Result) -> str:
    return f"{result.happened} {result.unit}" + (f"; {result.note}" if result.note else "")


def figures(result: Result) -> str:
    bars = [f"{bar.text}: {bar.measured}" for bar in result.bars if bar.met]
    return ", ".join([*result.figures, *bars])


def markdown(rows: Iterable[Sequence[str]]) -> str:
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in lines)
