"""
The processes that have a log open, and how one tells the others that it has stored something.

    <log>.nodes/door          locked by the process that is opening or closing the log
    <log>.nodes/<name>.node   locked by a process for as long as it has the log
    <log>.nodes/line          which processes wait to commit (waiting_line.py)
    <log>.nodes/failed        why a process could not write the log: no other one may write it any more
    <log>.nodes/<name>.bell   a socket of that process: a byte to it means "look at the log"
    <log>.nodes/<name>.counts what streams that process has (count_files.py)

Rule 1: whether a process lives is known from its lock, never from a clock or a number: the kernel
        releases the lock when the process ends, and not while it is stopped.
Rule 2: a lost ring loses nothing. Each process looks at the log by itself, if less often.
Rule 3: locks belong to a process and not to its children. A forked child is not a node.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import time
from collections.abc import Iterator, Sequence

from ...errors import StartRefused
from .waiting_line import WaitingLine

try:
    import fcntl
except ImportError:  # Windows has no such locks: there, one process has the log
    fcntl = None  # type: ignore[assignment]

# Seconds that opening a log waits for another process that is opening or closing it: it may be
# checking the whole file.
DOOR_TIMEOUT = 120.0
DOOR_PAUSE = 0.02
# What the longest address of a socket may have, in bytes.
ADDRESS = 100
# Nanoseconds within which two changes of a folder may have the same time.
JUST_NOW = 100_000_000

# Device, inode, time of change and size of a file: together they are those of one version of it.
Version = tuple[int, int, int, int]

# The logs that this process has: its own locks do not stop it.
HERE: set[str] = set()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=HERE.clear)


class Nodes:
    """The processes that have the log at `path`. Call `enter` first, and `join` in its block."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder = f"{path}.nodes"
        self.name = ""
        """This node, from `join` on; no other one has had this name."""
        self._name = ""  # empty while there is no file of that name
        self._process = os.getpid()
        self._folder_descriptor = -1
        self._line: WaitingLine | None = None
        self._joined = contextlib.ExitStack()  # closes what `join` has opened
        self._bell: socket.socket | None = None
        self._ringer: socket.socket | None = None
        self._bells: list[str] = []
        self._robbed = False  # nobody can ring any more
        self._seen: int | None = None  # the folder's time of change when `_bells` was listed

    # -- opening and closing the log

    @contextlib.contextmanager
    def enter(self, timeout: float = DOOR_TIMEOUT) -> Iterator[list[str]]:
        """
        Hold the door, and give the names of the other living nodes. No process joins or leaves meanwhile.

        Raises `StartRefused` if another process holds it for more than `timeout` seconds.
        """
        if self._path in HERE and not self._name:
            raise StartRefused(
                f"the log {self._path} is in use by process {os.getpid()}; stop it or use another file",
                code="log_in_use",
            )
        if fcntl is None:
            yield []
            return
        try:
            os.makedirs(self._folder, exist_ok=True)
            self._share(self._folder, 0o111)
            door = self._open("door", os.O_CREAT)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self._wait_for(door, timeout)
            try:
                living = self._living()
            except OSError as error:
                raise self._unwritable(error) from None
            if not living:
                # Nobody is left to inherit from those that died, and the log is checked before it is written.
                for name in self.versions("counts"):
                    self.remove(name, "counts")
                with contextlib.suppress(OSError):
                    os.unlink(self._path_of_failure)
            yield living
        finally:
            os.close(door)

    def _unwritable(self, error: OSError) -> StartRefused:
        return StartRefused(f"cannot write {self._folder}, which is needed beside the log: {error.strerror}")

    def _wait_for(self, door: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not lock(door):
            if time.monotonic() > deadline:
                raise StartRefused(
                    f"another process has been opening the log {self._path} for {timeout:.0f} s;"
                    " stop that process first",
                    code="log_in_use",
                )
            time.sleep(DOOR_PAUSE)

    def _living(self) -> list[str]:
        """Return the names of the other nodes, and remove what dead ones left behind."""
        living = []
        for file in os.listdir(self._folder):
            name, _, kind = file.partition(".")
            if kind != "node" or name == self._name:
                continue
            if self.lives(name):
                living.append(name)
            else:
                self._remove(name)
        return living

    def lives(self, name: str) -> bool:
        """Whether another node `name` has its lock. A process that is just joining may not have it yet."""
        if fcntl is None:
            return False
        try:
            descriptor = self._open(f"{name}.node")
        except FileNotFoundError:
            return False
        except OSError:
            return True  # this process may not look, or has too many files open
        try:
            return not lock(descriptor)
        finally:
            os.close(descriptor)

    def refuse_another_file(self, names: Sequence[str], inode: int) -> None:
        """Raises `StartRefused` if these nodes have another file than the one that now has the log's name."""
        for name in names:
            theirs = inode
            with contextlib.suppress(OSError, ValueError, IndexError):
                theirs = int(self.read(name, "node").split()[1])
            if theirs != inode:
                raise StartRefused(
                    f"the file of the log {self._path} was deleted or replaced while other processes have it"
                    " open; stop all of them, then start them again",
                    code="log_in_use",
                )

    def join(self, inode: int) -> None:
        """
        Become a node that has the file with that inode, and make the others look at the log.

        Raises `StartRefused` if that fails.
        """
        HERE.add(self._path)
        self.name = secrets.token_hex(8)
        if fcntl is None:
            return
        try:
            self._join(inode)
        except OSError as error:
            self.leave()
            raise self._unwritable(error) from None

    def _join(self, inode: int) -> None:
        self._name = self.name
        node = self._keep(self._open(f"{self._name}.node", os.O_CREAT | os.O_EXCL))
        lock(node)
        os.write(node, b"%d %d\n" % (os.getpid(), inode))
        self._line = WaitingLine(self._keep(self._open("line", os.O_CREAT)))
        self._folder_descriptor = self._keep(os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC))
        self._bell = self._joined.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._bell.setblocking(False)
        self._poll = select.poll()  # and not `select`, which knows no descriptor above 1,023
        self._poll.register(self._bell, select.POLLIN)
        self._bell.bind(self._address(f"{self._name}.bell"))
        self._share(os.path.join(self._folder, f"{self._name}.bell"))
        self._ringer = self._joined.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._ringer.setblocking(False)
        self.ring()

    def _keep(self, descriptor: int) -> int:
        self._joined.callback(os.close, descriptor)
        return descriptor

    def leave(self) -> None:
        """Stop being a node."""
        HERE.discard(self._path)
        if not self._name or self._process != os.getpid():
            return
        self.remove(self._name, "counts")
        self._remove(self._name)
        self.ring()
        self._joined.close()
        self._bell = self._ringer = self._line = None
        self._name = ""

    def _remove(self, name: str) -> None:
        for kind in ("counts-new", "bell", "node"):
            self.remove(name, kind)

    def tidy(self) -> None:
        """Remove what dead nodes left behind, but for their counts; not while a process joins or leaves."""
        with self.turn("door") as ours:
            if ours:
                with contextlib.suppress(OSError):
                    self._living()

    # -- failing together

    @property
    def _path_of_failure(self) -> str:
        return os.path.join(self._folder, "failed")

    def fail(self, why: str) -> None:
        """Make all nodes stop writing. What the disk has lost for one of them, another might acknowledge."""
        if self._name:
            with contextlib.suppress(OSError):
                descriptor = self._open("failed", os.O_CREAT | os.O_TRUNC)
                with open(descriptor, "w", encoding="utf-8") as file:
                    file.write(f"process {os.getpid()}: {why}")
            self.ring()

    def failure(self) -> str:
        """Return why another node has made all stop, or an empty text."""
        try:
            with open(self._path_of_failure, encoding="utf-8") as file:
                return file.read() or "unknown"
        except OSError:
            return ""

    # -- the bells

    def ring(self) -> None:
        """Make the other nodes look at the log."""
        if self._ringer is None:
            return
        for bell in self._others():
            try:
                self._ringer.sendto(b"!", bell)
            except ConnectionRefusedError:
                # The process has died. Without its bell, the others know when they are alone.
                with contextlib.suppress(OSError):
                    os.unlink(bell)
            except OSError:
                pass  # full: it has been rung; or gone

    def ring_after_commit(self) -> None:
        """As `ring`, but a process that seems to be alone does not look whether it is."""
        # One that joins rings, and so the lookout looks. After each commit it would take a tenth as long.
        if not self._seems_alone:
            self.ring()

    def wake(self) -> None:
        """Ring this node's own bell."""
        if self._ringer:
            with contextlib.suppress(OSError):
                self._ringer.sendto(b"!", self._address(f"{self._name}.bell"))

    @property
    def alone(self) -> bool:
        """Whether there is no other node. Unknown, and so False, if this node's own bell has been removed."""
        return not self._others() and not self._robbed

    @property
    def hears_rings(self) -> bool:
        """Whether this node's bell is where the others look for it, as of the last look at the folder."""
        return not self._robbed

    @property
    def _seems_alone(self) -> bool:
        """As `alone`, as of the last look at the folder."""
        return not (self._bells or self._robbed)

    def _others(self) -> list[str]:
        """Return the addresses of the other nodes' bells."""
        if not self._name or self._process != os.getpid():
            return []
        try:
            changed = self.changed()
            if changed is None or changed != self._seen:
                self._seen = changed
                files = os.listdir(self._folder)
                own = f"{self._name}.bell"
                self._robbed = own not in files
                self._bells = [self._address(f) for f in files if f.endswith(".bell") and f != own]
        except OSError:
            self._robbed = True
            self._bells = []  # the folder is gone: each process looks at the log by itself
        return self._bells

    def wait(self, seconds: float) -> bool:
        """Wait for a ring. Return whether there was one."""
        if self._bell is None:
            time.sleep(seconds)
            return False
        if not self._poll.poll(seconds * 1000):
            return False
        with contextlib.suppress(BlockingIOError):
            while True:
                self._bell.recv(64)
        return True

    # -- one at a time

    @contextlib.contextmanager
    def turn(self, what: str) -> Iterator[bool]:
        """Give True if no other node is doing `what`; it cannot begin before the block ends."""
        if fcntl is None or not self._name:
            yield True
            return
        try:
            descriptor = self._open(what, os.O_CREAT)
        except OSError:
            yield True
            return
        try:
            yield lock(descriptor)
        finally:
            os.close(descriptor)

    @property
    def line(self) -> WaitingLine | None:
        """The line of those that wait to commit; None for a process that is alone."""
        return None if self._seems_alone else self._line

    # -- files

    def replace(self, kind: str, data: bytes) -> None:
        """Replace this node's file of that kind as a whole. Raises `OSError`."""
        if not self._name or self._process != os.getpid():
            return
        new = f"{self._name}.{kind}-new"
        descriptor = self._open(new, os.O_CREAT | os.O_TRUNC)
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(os.path.join(self._folder, new), os.path.join(self._folder, f"{self._name}.{kind}"))

    def changed(self) -> int | None:
        """
        Return when a file was made, replaced or removed last, or None if the folder has just changed.

        Another change in the same moment may leave this time as it is. Raises `OSError` without a folder.
        """
        changed = os.stat(self._folder).st_mtime_ns
        return changed if time.time_ns() - changed > JUST_NOW else None

    def versions(self, kind: str) -> dict[str, Version]:
        """Return the names of the other nodes that have a file of that kind, each with its version."""
        found: dict[str, Version] = {}
        with contextlib.suppress(OSError), os.scandir(self._folder) as files:
            for file in files:
                name, _, suffix = file.name.partition(".")
                if suffix == kind and name != self._name:
                    with contextlib.suppress(FileNotFoundError):
                        stat = file.stat()
                        found[name] = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        return found

    def read(self, name: str, kind: str) -> bytes:
        with open(os.path.join(self._folder, f"{name}.{kind}"), "rb") as file:
            return file.read()

    def remove(self, name: str, kind: str) -> bool:
        """Remove a file. Return whether it was there: of several processes, one gets True."""
        try:
            os.unlink(os.path.join(self._folder, f"{name}.{kind}"))
        except OSError:
            return False
        return True

    def _open(self, name: str, flags: int = 0) -> int:
        path = os.path.join(self._folder, name)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o666)
        if flags:
            self._share(path)
        return descriptor

    def _share(self, path: str, more: int = 0) -> None:
        """Give a file the owner and the mode of the log: each program that may write it may be a node."""
        with contextlib.suppress(OSError):
            log = os.stat(self._path)
            os.chmod(path, (log.st_mode & 0o666) | (more if log.st_mode & 0o444 else 0))
            if os.geteuid() == 0:
                os.chown(path, log.st_uid, log.st_gid)

    def _address(self, name: str) -> str:
        path = os.path.join(self._folder, name)
        if len(os.fsencode(path)) <= ADDRESS:
            return path
        # Linux: a short name for a folder with a long path.
        return f"/proc/self/fd/{self._folder_descriptor}/{name}"


def lock(descriptor: int) -> bool:
    """Lock a file for this process. Return whether no other process holds its lock."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
