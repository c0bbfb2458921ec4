"""The files of a log in the hands of others: a second hub under another name, and deeds: F30."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from faults.disks import command
from faults.processes import PROCESSES
from faults.scenario import Bar, Context, Fault, Result, exactly
from faults.served import START_TIMEOUT, Served, several, wait_until
from faults.storage import out_of_service
from faults.workload import Workload, scale_of

# Seconds between two deeds.
PAUSE = 3.0

# -- a second hub


def second_hub(context: Context) -> Result:
    """F30: a second hub is started on the same file, by a hard link and by a mount of it."""
    scale = scale_of(context)
    with Served(context.folder, context.engine_url(), *scale.options) as hub, Workload(hub, scale) as work:
        work.steady(scale.before)
        ends = []
        with other_names(context.folder / "events.db") as names:
            for name in names * context.times(smoke=1, full=5):
                with work.fault("second hub"):
                    ends.append(end_of_second_hub(context, name))
                work.steady(1)
        outcome = work.finish()
    refused = [code for code, output in ends if code and "open under another name" in output]
    return Result(
        happened=len(ends),
        unit="second hubs",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=outcome.figures(),
        bars=[exactly("second hubs refused", len(refused), len(ends)), *outcome.bars()],
    )


@contextlib.contextmanager
def other_names(file: Path) -> Iterator[list[Path]]:
    """Return the path of a hard link to the file, and one at which it is mounted."""
    names = [file.parent / kind / file.name for kind in ("link", "mount")]
    for name in names:
        name.parent.mkdir()
    link, mount = names
    os.link(file, link)
    mount.touch()
    command("mount", "--bind", file, mount)
    try:
        yield names
    finally:
        command("umount", "--lazy", mount)


def end_of_second_hub(context: Context, file: Path) -> tuple[int, str]:
    """Start a hub on the file; return its exit code and its output, or 0 if it became ready."""
    second = Served(context.folder, context.engine_url(file.parent))
    try:
        second.launch()
        wait_until(
            lambda: second.exit_code is not None or second.status("/health/ready") == 200,
            START_TIMEOUT,
            "the second hub is refused or ready",
        )
        return second.exit_code or 0, second.output()
    finally:
        second.end()


# -- files in the hands of others


def deleted(file: Path) -> None:
    file.unlink()


def replaced(file: Path) -> None:
    copy = file.with_name("replacement")
    shutil.copy(file, copy)
    copy.replace(file)


def truncated(file: Path) -> None:
    os.truncate(file, 0)


DEEDS: list[Callable[[Path], None]] = [deleted, replaced, truncated]


def lost_files(context: Context) -> Result:
    """F30: the log's file or its WAL is deleted, replaced or truncated; then a copy of before is put back."""
    return deeds_beside(context, 1)


def lost_files_of_several(context: Context) -> Result:
    """F30: the same while four processes have the log: none of them may go on."""
    return deeds_beside(context, PROCESSES)


def deeds_beside(context: Context, processes: int) -> Result:
    scale, log = scale_of(context), context.folder / "events.db"
    wal = log.with_name("events.db-wal")
    late, codes, outages = 0, [], []
    with (
        several(context.folder, context.engine_url(), processes, *scale.options) as hubs,
        Workload(hubs[0], scale, hubs[1:]) as work,
    ):
        work.steady(scale.before)
        for file in (log, wal) * context.times(smoke=1, full=2):
            for deed in DEEDS:
                with work.fault(f"{file.name} {deed.__name__}"):
                    with copied(hubs, log, wal):
                        deed(file)
                    moment = time.monotonic()
                    outages.append(wait_until(lambda: all(map(out_of_service, hubs)), 20, "no hub is ready"))
                    codes += [hub.wait(20) for hub in hubs]
                    # What began before it may have been stored before it.
                    answers = (answer for publisher in work.publishers for answer in publisher.answers)
                    late += sum(a.acked and a.at - a.took > moment for a in answers)
                    put_back(log, wal)
                    for hub in hubs:
                        hub.start()
                work.steady(PAUSE)
        outcome = work.finish()
    # From each deed on the copy is all that there is: an ack that came later would be lost.
    return Result(
        happened=outcome.happened,
        unit="deeds",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=[*outcome.figures(), f"out of service within {max(outages):.2f} s"],
        bars=[
            exactly("acks of what was published after a deed", late, 0),
            Bar("exit code each time = 1", f"{sorted(set(codes))}", set(codes) == {1}),
            *outcome.bars(),
        ],
    )


@contextlib.contextmanager
def copied(hubs: Sequence[Served], *files: Path) -> Iterator[None]:
    """Stop hubs in the middle of whatever they do, copy their files, and let them go on after the block."""
    for hub in hubs:
        hub.signal(signal.SIGSTOP)
    for file in files:
        shutil.copy(file, copy_of(file))
    yield
    for hub in hubs:
        hub.signal(signal.SIGCONT)


def copy_of(file: Path) -> Path:
    return file.with_name(f"before-{file.name}")


def put_back(log: Path, wal: Path) -> None:
    log.with_name(f"{log.name}-shm").unlink(missing_ok=True)
    for file in (log, wal):
        copy_of(file).replace(file)


def lost_folder(context: Context) -> Result:
    """F30: the folder of nodes is deleted while four processes have the log; then a fifth one comes."""
    scale, log = scale_of(context), context.folder / "events.db"
    ends = []
    with (
        several(context.folder, context.engine_url(), PROCESSES, *scale.options) as hubs,
        Workload(hubs[0], scale, hubs[1:]) as work,
    ):
        work.steady(scale.before)
        for _ in range(context.times(smoke=1, full=5)):
            with work.fault("folder deleted"):
                gone = log.with_name("gone")  # they may be writing into it
                log.with_name(f"{log.name}.nodes").rename(gone)
                shutil.rmtree(gone)
                work.steady(PAUSE)
                ends.append(end_of_second_hub(context, log))
                for hub in hubs:
                    hub.stop()
                for hub in hubs:
                    hub.start()
            work.steady(PAUSE)
        outcome = work.finish()
    refused = [code for code, output in ends if code and "does not name: that folder was" in output]
    return Result(
        happened=len(ends),
        unit="deleted folders",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=outcome.figures(),
        bars=[exactly("processes refused that came later", len(refused), len(ends)), *outcome.bars()],
    )


FAULTS = [
    Fault(
        "F30",
        "sqlite: a second hub on the file, by a link and by a mount",
        "full",
        second_hub,
        needs=("root", "mount"),
    ),
    Fault("F30", "sqlite: file or WAL deleted, replaced or truncated", "full", lost_files),
    Fault(
        "F30",
        "sqlite: four processes on one log, file or WAL deleted, replaced or truncated",
        "full",
        lost_files_of_several,
    ),
    Fault("F30", "sqlite: four processes on one log, the folder of nodes deleted", "full", lost_folder),
]
