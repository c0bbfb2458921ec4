"""Shedding load before the memory runs out."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from support.fakes import listen, open_node, publish, quiet, sample, until, virtual
from tidewire.delivery.memory_watch import ControlGroup, memory_share, step_for, tightest
from tidewire.delivery.node import SLOW_READERS, Node
from tidewire.errors import Unavailable


class Memory:
    """The share that is used, as a test sets it; None if it cannot be read."""

    def __init__(self, share: float | None = 0.5) -> None:
        self.share = share

    def __call__(self) -> float | None:
        return self.share

    async def use(self, share: float | None) -> None:
        """Set the share, and wait until the node has looked at it."""
        self.share = share
        await asyncio.sleep(2)


def refused(node: Node) -> tuple[bool, bool]:
    """Return whether streams and publishes are refused now."""
    found = (node.stream_refusal(), node.publish_refusal())
    assert {error.code for error in found if error} <= {"memory_low"}
    return found[0] is not None, found[1] is not None


@virtual
async def test_load_is_shed_in_order_and_taken_on_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tidewire")
    memory = Memory()
    async with open_node(memory=memory, stuck_timeout=3600, send_timeout=3600) as node:
        slow, live = await listen(node, "a", room=0), await listen(node, "a")
        await publish(node, "a", "1")
        await quiet()
        await memory.use(0.79)
        assert (refused(node), caplog.messages) == ((False, False), [])
        await memory.use(0.80)
        assert (refused(node), slow.ended) == ((True, False), False)
        await memory.use(0.90)
        assert (refused(node), slow.aborted) == ((True, False), True)
        await memory.use(0.95)
        assert refused(node) == (True, True)
        with pytest.raises(Unavailable) as error:
            await publish(node, "a", "2")
        assert (error.value.code, error.value.stored) == ("memory_low", False)
        await memory.use(None)
        assert refused(node) == (True, True)
        await memory.use(0.91)
        assert refused(node) == (True, True)
        await memory.use(0.89)
        assert refused(node) == (True, False)
        await memory.use(0.76)
        assert refused(node) == (True, False)
        await memory.use(0.74)
        assert refused(node) == (False, False)
        await publish(node, "a", "3")
        await quiet()
        assert (live.data, live.ended) == (["1", "3"], False)
        assert sample(node, "ended_streams_total", reason="memory") == 1
        assert sample(node, "memory_share") == 0.74
    # Each stream that ends has a line too, of a logger of its own.
    lines = [record.message for record in caplog.records if record.name == "tidewire"]
    assert [line.partition(" %")[0] for line in lines] == ["80", "90", "95", "89", "76", "74"]


@virtual
async def test_those_that_have_been_stuck_longest_go_first() -> None:
    memory = Memory()
    async with open_node(memory=memory, stuck_timeout=3600, send_timeout=3600) as node:
        oldest = [await listen(node, "a", room=0) for _ in range(SLOW_READERS)]
        await publish(node, "a", "1")
        await asyncio.sleep(1)
        newer = [await listen(node, "b", room=0) for _ in range(50)]
        await publish(node, "b", "1")
        await quiet()
        memory.share = 0.9
        await until(lambda: oldest[0].aborted, 0.1)
        assert all(reader.aborted for reader in oldest)
        assert not any(reader.aborted for reader in newer)
        await until(lambda: newer[0].aborted, 0.1)
        assert all(reader.aborted for reader in newer)


@pytest.mark.parametrize(
    ("share", "before", "step"),
    [
        (0.0, 0, 0),
        (0.8, 0, 1),
        (2.0, 0, 3),
        (0.9, 3, 3),
        (0.8, 3, 1),
        (0.85, 3, 2),
        (0.76, 2, 1),
        (0.75, 1, 1),
    ],
)
def test_steps(share: float, before: int, step: int) -> None:
    assert step_for(share, before) == step


@virtual
async def test_without_a_limit_nothing_is_watched() -> None:
    async with open_node() as node:
        assert refused(node) == (False, False)
        assert sample(node, "memory_share") == 0.0


# -- how much is used


def group(folder: Path, limit: str, used: int = 0, cache: int = 0, *, version: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current", "inactive_file")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")
    return folder


def member(tmp_path: Path, text: str) -> ControlGroup | None:
    (tmp_path / "membership").write_text(text)
    return tightest(tmp_path / "membership", tmp_path / "root")


def test_the_tightest_group_counts_and_caches_do_not(tmp_path: Path) -> None:
    root = tmp_path / "root"
    group(root / "a" / "b", "max", 900)
    folder = group(root / "a", "1000", 900, 400)
    group(root, "5000", 900)
    found = member(tmp_path, "0::/a/b\n")
    assert found
    assert (found.folder, found.share()) == (folder, 0.5)
    (folder / "memory.current").unlink()
    assert found.share() is None


def test_a_container_is_told_a_path_outside_of_it(tmp_path: Path) -> None:
    folder = group(tmp_path / "root" / "memory", "1000", 700, 200, version=1)
    found = member(tmp_path, "5:cpu:/docker/x\n4:memory:/docker/x\n0::/\n")
    assert found
    assert (found.folder, found.share()) == (folder, 0.5)


def test_no_limit(tmp_path: Path) -> None:
    group(tmp_path / "root" / "memory", "9223372036854771712", version=1)
    group(tmp_path / "root", "max")
    assert member(tmp_path, "4:memory:/\n0::/\n") is None
    assert tightest(tmp_path / "missing", tmp_path) is None


def test_a_limit_that_is_set_is_compared_with_this_process() -> None:
    small, large = memory_share(1024**2)(), memory_share(1024**4)()
    assert small is not None
    assert large is not None
    assert 0 < large < 0.1 < 1 < small
