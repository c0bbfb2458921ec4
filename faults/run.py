"""
Run the faults of a tier one after another and print one markdown table.

    python -m faults --tier smoke       under two minutes; part of `make test`
    python -m faults --tier full        everything except the soak
    python -m faults --tier soak        thirty minutes of one load
    python -m faults --only F1,F2 --runs 3

Progress goes to stderr, the table to stdout. The exit code is 0 if every bar was met, 1 if one was not,
2 if nothing ran. Faults that are skipped (they need root, or a program that is missing) are named on
stderr and in the table.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from faults.catalogue import ALL
from faults.scenario import INCLUDED, Context, Fault, NotPossible, Tier
from faults.table import Row, judge, markdown


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Try faults on a hub under load; print a markdown table.")
    parser.add_argument("--tier", choices=list(INCLUDED), default="full")
    parser.add_argument(
        "--only",
        metavar="F1,F2",
        default="",
        help="only these faults, of any tier if this one has none of them",
    )
    parser.add_argument("--runs", type=int, metavar="N", help="how often to do each; minutes for F24")
    parser.add_argument("--engine", choices=["sqlite", "memory"], default="sqlite", help="default: sqlite")
    return parser.parse_args()


def chosen(tier: Tier, only: str) -> list[Fault]:
    wanted = [name for name in only.split(",") if name]
    if unknown := set(wanted) - {fault.id for fault in ALL}:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; use {', '.join(f.id for f in ALL)}")
    of_tier = [fault for fault in ALL if fault.tier in INCLUDED[tier]]
    if not wanted:
        return of_tier
    return [f for f in of_tier if f.id in wanted] or [f for f in ALL if f.id in wanted]


def attempt(fault: Fault, options: argparse.Namespace) -> Row:
    """Run one fault and return its row, whatever goes wrong."""
    if missing := fault.missing():
        return Row(fault, skipped=f"needs {' and '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix=f"tidewire-{fault.id}-") as folder:
        context = Context(options.tier, Path(folder), options.engine, options.runs, say)
        try:
            return judge(fault, context, fault.run(context))
        except NotPossible as reason:
            return Row(fault, skipped=str(reason))
        except Exception as error:
            traceback.print_exc()
            return Row(fault, broken=f"{type(error).__name__}: {error}".splitlines()[0])


def run_all(faults: Sequence[Fault], options: argparse.Namespace) -> list[Row]:
    rows = []
    for fault in faults:
        say(f"{fault.id}: {fault.title}")
        begun = time.monotonic()
        row = attempt(fault, options)
        took = time.monotonic() - begun
        say(f"{fault.id}: {row.cells()[-1]} after {took:.0f} s")
        rows.append(row)
    return rows


def machine() -> str:
    from benchmarks import facts

    python = facts.versions().split(", ")[0]
    return f"{time.strftime('%Y-%m-%d')}; {facts.machine()}; {python}; load average {os.getloadavg()[0]:.1f}"


def main() -> None:
    options = arguments()
    # As an exception, so that mounts are undone and processes ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows = run_all(chosen(options.tier, options.only), options)
    print(f"{markdown(row.cells() for row in rows)}\n\n{machine()}.")
    for row in rows:
        if row.skipped:
            say(f"SKIPPED {row.fault.id}: {row.skipped}")
    if not any(row.result or row.broken for row in rows):
        sys.exit(2)
    sys.exit(0 if all(row.met for row in rows) else 1)
