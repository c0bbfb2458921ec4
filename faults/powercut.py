"""
The power goes: F2, and with several processes F29.

The disk is an ext4 image on a tmpfs. A power cut is the image as it is at one moment, in the middle of
whatever is being written: all processes are stopped (SIGSTOP) while the image is copied, and then continue.
What the page cache still holds is not in the copy, as it would not be on the disk. Every publish that was
acked by then must be in the log that is opened from the copy.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from faults.disks import copy_image, ext4, memory_disk, mounted_image
from faults.history import history
from faults.scenario import Context, Fault, Result, exactly
from faults.served import Served, several, wait_until
from faults.workload import DEFAULT_POLICY, Scale, Workload
from tidewire.testing.checker import Report, check
from tidewire.testing.recorder import Delivered, Invoked, Ok, Record, Refused, Unknown
from tidewire.testing.recorder import Fault as Broke

DISK_MIB = 96
# More load than the standard, so that commits have several batches to group.
SCALE = Scale(publishers=8, rate=800, subscribers=12, policy=DEFAULT_POLICY)


@dataclass
class Cut:
    """One power cut: the checker's report on the log in the copy, and what else must be true."""

    report: Report
    integrity: str
    not_in_log: int


def power_cut(context: Context) -> Result:
    """F2: acked means on the disk."""
    return power_cuts(context, processes=1)


def power_cut_of_four(context: Context) -> Result:
    """F29: the same with four processes that write one log."""
    return power_cuts(context, processes=4)


def power_cuts(context: Context, processes: int) -> Result:
    times = context.times(smoke=2, full=20)
    chance = random.Random(2)
    with memory_disk(context.folder, 3 * DISK_MIB) as ram, ext4(ram, "disk", DISK_MIB) as disk:
        with (
            several(context.folder, context.engine_url(disk), processes) as hubs,
            Workload(hubs[0], SCALE, hubs[1:]) as work,
        ):
            cuts = []
            for number in range(times):
                work.steady(chance.uniform(0.5, 1.5))
                cuts.append(cut(context, work, ram))
                counted = cuts[-1].report
                context.say(f"  power cut {number + 1}: {counted.acked} acked, {counted.lost} lost")
            outcome = work.finish()
    return Result(
        happened=len(cuts),
        unit="power cuts",
        acked=outcome.acked,
        reports=[outcome.report, *(each.report for each in cuts)],
        figures=outcome.figures(),
        bars=[
            exactly("integrity_check ok", sum(each.integrity == "ok" for each in cuts), times),
            exactly("delivered, but not in the log", sum(each.not_in_log for each in cuts), 0),
            *outcome.bars(),
        ],
    )


def cut(context: Context, work: Workload, ram: Path) -> Cut:
    copy = ram / "copy.img"
    try:
        records = copy_at_one_moment(work, ram / "disk.img", copy)
        with mounted_image(copy) as mount:
            integrity = check_integrity(mount)
            with Served(context.folder, context.engine_url(mount)) as revived:
                log = list(history(revived))
    finally:
        copy.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            copy.with_suffix("").rmdir()
    delivered = {record.id for record in records if isinstance(record, Delivered)}
    return Cut(judge(records, log), integrity, len(delivered - {id for id, _, _ in log}))


def copy_at_one_moment(work: Workload, image: Path, copy: Path) -> list[Record]:
    """Copy the image while all processes are stopped; return what had happened by then."""
    with work.fault("power cut"):
        for hub in work.hubs:
            hub.signal(signal.SIGSTOP)
        try:
            wait_until(lambda: all(is_stopped(hub.pid) for hub in work.hubs), 5, "the hubs are stopped")
            copy_image(image, copy)
            # Answers from before the stop may still be on their way to the publishers.
            time.sleep(0.1)
            return list(work.recorder.records)
        finally:
            for hub in work.hubs:
                hub.signal(signal.SIGCONT)


def is_stopped(pid: int) -> bool:
    """Whether every thread is stopped, or in a system call that it cannot return from."""
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(stat.read_text().rpartition(")")[2].split()[0] in "TD" for stat in stats)


def check_integrity(mount: Path) -> str:
    # On a copy of the files: a connection would empty the WAL before the hub opens it.
    db = sqlite3.connect(private_copy(mount) / "events.db")
    try:
        result: str = db.execute("PRAGMA integrity_check").fetchone()[0]
        return result
    except sqlite3.DatabaseError as error:
        return str(error)
    finally:
        db.close()


def private_copy(mount: Path) -> Path:
    copy = mount / "checked"
    copy.mkdir()
    for file in filter(Path.is_file, mount.glob("events.db*")):
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def judge(records: list[Record], log: list[tuple[str, str, str]]) -> Report:
    """Return the checker's report on the publishes. The streams belong to the hub that continued."""
    kinds = (Invoked, Ok, Refused, Unknown, Broke)
    return check([record for record in records if isinstance(record, kinds)], log)


FAULTS = [
    Fault(
        "F2",
        "sqlite: power cut, by a copy of the disk's image",
        "full",
        power_cut,
        needs=("root", "mount", "mkfs.ext4"),
    ),
    Fault(
        "F29",
        "sqlite: power cut, with four processes that write one log",
        "full",
        power_cut_of_four,
        needs=("root", "mount", "mkfs.ext4"),
    ),
]
