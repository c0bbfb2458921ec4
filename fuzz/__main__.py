"""
Fuzz with atheris: python -m fuzz [TARGET...] --seconds 60

Each target runs in a process of its own. An input that breaks a rule is written to `crash-…` in the
current folder, and the exit code is 1; `python -m fuzz TARGET --input FILE` tries it again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.running import TARGETS, load, run

MAX_BYTES = 16 * 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of: {', '.join(TARGETS)} (all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--input", type=Path, help="only try this input again")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    targets = options.targets or TARGETS
    if options.input:
        for name in targets:
            run(load(name).check, options.input.read_bytes())
        return 0
    if options.here:
        fuzz(targets[0], options.seconds)
    return max(subprocess.call(words(name, options.seconds)) != 0 for name in targets)


def words(name: str, seconds: int) -> list[str]:
    print(f"{name}: {seconds} s", flush=True)
    return [sys.executable, "-m", "fuzz", name, "--here", "--seconds", str(seconds)]


def fuzz(name: str, seconds: int) -> None:
    """Fuzz a target; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["tidewire", "fuzz"]):
        target = load(name)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.SEEDS):
            Path(corpus, str(number)).write_bytes(seed)
        limits = [
            f"-max_total_time={seconds}",
            f"-max_len={MAX_BYTES}",
            "-timeout=10",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *limits, corpus], lambda data: run(target.check, data))
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
