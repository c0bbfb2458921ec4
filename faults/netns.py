"""
A separate network on this machine: a namespace, a cable (veth) to it, and faults of that cable.

    with Network() as net:
        hub listens on net.hub ...
        with net.inside():
            client = socket.create_connection((net.hub, port))
        net.blackhole()       # not even an acknowledgement gets through
        net.limit("64kbit")   # from the hub to its clients

Everything is removed at the end. The machine's own networks are not touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from faults.scenario import NotPossible

# Only these namespaces have names with this prefix.
PREFIX = "tidewire-fault"
# 198.18.0.0/15 is reserved for network tests (RFC 2544).
SUBNETS = [f"198.18.{number}" for number in range(256)]
COMMAND_TIMEOUT = 10.0
CLONE_NEWNET = 0x40000000
# Bytes that a slow link queues before it drops packets: a quarter of a second at 1 Mbit/s.
SLOW_QUEUE = 32 * 1024

_numbers = itertools.count(1)


class Network:
    """`hub` is the address on this side of the cable, `client` the one in the namespace."""

    def __init__(self) -> None:
        pid, number = os.getpid(), next(_numbers)
        self.name = f"{PREFIX}-{pid}-{number}"
        # An interface's name has at most 15 characters.
        self._here, self._there = f"tw{pid}.{number}h", f"tw{pid}.{number}c"
        subnet = free_subnet()
        self.hub, self.client = f"{subnet}.1", f"{subnet}.2"

    def __enter__(self) -> Self:
        self._made = contextlib.ExitStack()
        try:
            self._make()
        except subprocess.CalledProcessError as error:
            self._made.close()
            raise NotPossible(f"cannot make a network namespace: {error.stderr.strip()}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._made.close()

    def _make(self) -> None:
        run(f"ip netns add {self.name}")
        self._made.callback(remove, f"ip netns del {self.name}")
        run(f"ip link add {self._here} type veth peer name {self._there} netns {self.name}")
        # Removed before the namespace, which lives on while a socket that was made in it is open.
        self._made.callback(remove, f"ip link del {self._here}")
        run(f"ip addr add {self.hub}/24 dev {self._here}")
        run(f"ip link set {self._here} up")
        run(f"ip -n {self.name} addr add {self.client}/24 dev {self._there}")
        run(f"ip -n {self.name} link set {self._there} up")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread make its sockets in the namespace; they stay there."""
        with open("/proc/thread-self/ns/net") as home:
            self.move_in()
            try:
                yield
            finally:
                set_namespace(home.fileno())

    def move_in(self) -> None:
        """From now on, this thread makes its sockets in the namespace."""
        with open(f"/run/netns/{self.name}") as there:
            set_namespace(there.fileno())

    # -- faults

    def blackhole(self) -> None:
        """Silently drop every packet in both directions."""
        rules = ["add table inet fault"]
        for hook in ("input", "output"):
            rules.append(
                f"add chain inet fault {hook} {{ type filter hook {hook} priority 0; policy drop; }}"
            )
        run(f"ip netns exec {self.name} nft -f -", "\n".join(rules))

    def heal(self) -> None:
        """Let all packets through again."""
        run(f"ip netns exec {self.name} nft flush ruleset")

    def limit(self, rate: str) -> None:
        """Limit the link from the hub to its clients to `rate`, as `tc` spells it."""
        run(f"tc qdisc replace dev {self._here} root tbf rate {rate} burst 4kb limit {SLOW_QUEUE}")

    def unlimit(self) -> None:
        run(f"tc qdisc del dev {self._here} root")

    def dropped(self) -> int:
        """Return how many packets the slow link dropped."""
        shown = run(f"tc -s qdisc show dev {self._here}")
        return int(shown.partition("(dropped ")[2].partition(",")[0] or 0)


def run(command: str, stdin: str = "") -> str:
    """Run a program and return its output. Raises `CalledProcessError`, with its stderr, if it fails."""
    done = subprocess.run(
        command.split(), input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=True
    )
    return done.stdout


def remove(command: str) -> None:
    with contextlib.suppress(subprocess.CalledProcessError):  # already gone
        run(command)


def free_subnet() -> str:
    """Return the first three bytes of a subnet that no interface of this machine uses."""
    taken = Path("/proc/net/fib_trie").read_text()
    return next(subnet for subnet in random.sample(SUBNETS, len(SUBNETS)) if f"{subnet}." not in taken)


def set_namespace(descriptor: int) -> None:
    # os.setns came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def peers(port: int) -> list[str]:
    """Return the address and port of every peer connected to a port of this machine."""
    return [line.split()[-1] for line in run(f"ss -Htn state established sport = :{port}").splitlines()]


def kill_sockets(*filters: str) -> int:
    """Reset TCP sockets of this machine on both ends (`ss -K`), and return how many."""
    return len(run(" ".join(["ss", "-HKtn", *filters])).splitlines())
