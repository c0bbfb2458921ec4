"""Small ext4 file systems in images on a tmpfs: disks that can be copied, filled and frozen."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from faults.scenario import NotPossible

MIB = 2**20


def command(*words: object) -> None:
    """Run a program that changes mounts. Raises `NotPossible` if the machine does not allow it."""
    argv = [str(word) for word in words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise NotPossible(f"{words[0]}: {done.stderr.strip() or done.returncode}")


@contextlib.contextmanager
def mounted(folder: Path, *words: object) -> Iterator[Path]:
    """Mount something on `folder` until the end of the block."""
    folder.mkdir()
    command("mount", *words, folder)
    try:
        yield folder
    finally:
        # Lazily: a process in the middle of a system call must not keep it mounted.
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


@contextlib.contextmanager
def memory_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A tmpfs for the images: they hold exactly what was written to them, with no disk below."""
    with mounted(folder / "ram", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs") as ram:
        yield ram


@contextlib.contextmanager
def ext4(ram: Path, name: str, mib: int) -> Iterator[Path]:
    """A new ext4 of this size in the image `name`, mounted beside it."""
    image = ram / f"{name}.img"
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    command("mkfs.ext4", "-q", "-F", "-m", "0", image)
    with mounted_image(image) as mount:
        yield mount


@contextlib.contextmanager
def mounted_image(image: Path) -> Iterator[Path]:
    with mounted(image.with_suffix(""), "-o", "loop", image) as mount:
        yield mount


def copy_image(image: Path, to: Path) -> None:
    command("cp", "--sparse=always", image, to)


def fill(folder: Path) -> Path:
    """Write until not even one block fits; return the file that takes up the space."""
    filler = folder / "filler"
    size = MIB
    with filler.open("wb", buffering=0) as file:
        while size:
            try:
                if file.write(b"\0" * size) < size:
                    size //= 2
            except OSError:
                size //= 2
    return filler


@contextlib.contextmanager
def frozen(mount: Path) -> Iterator[None]:
    """Freeze a file system: until the end of the block, every write to it waits, and so does fsync."""
    command("fsfreeze", "--freeze", mount)
    try:
        yield
    finally:
        command("fsfreeze", "--unfreeze", mount)


def free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
