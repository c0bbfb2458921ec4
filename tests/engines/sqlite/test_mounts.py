"""File systems on which SQLite's WAL loses data are refused, by the table of mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidewire.engines.sqlite import mounts
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.engines.sqlite.mounts import file_system, shared_file_system
from tidewire.errors import StartRefused

TABLE = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 0:40 / /data rw shared:2 master:3 - xfs /dev/vdb rw
41 40 0:41 / /data/office rw - nfs4 server:/export rw,vers=4.2
42 27 0:42 / /my\040files rw - virtiofs host rw
43 27 0:43 / /data2 rw - tmpfs tmpfs rw
44 27 0:44 / /stacked rw - cifs //server/share rw
45 44 0:45 / /stacked rw - btrfs /dev/vdc rw
46 27 0:46 /hub.db /var/lib/hub.db rw - fakeowner /run/host_mark/Users rw
47 27 0:47 / /back\134slash rw - 9p drvfs rw
48 27 0:48 / /bucket rw - fuse.s3fs s3fs rw
49 27 0:49 / /usb rw - fuseblk /dev/sda1 rw
50 27 0:50 / /layers rw - fuse.fuse-overlayfs fuse-overlayfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/log.db", "ext4"),
        ("/data/log.db", "xfs"),
        ("/data/office/log.db", "nfs4"),
        # The name begins like that of a mount, and is another one.
        ("/data/office2/log.db", "xfs"),
        ("/data2/log.db", "tmpfs"),
        ("/my files/deep/log.db", "virtiofs"),
        (r"/back\slash/log.db", "9p"),
        # Of two mounts on one folder the later one hides the other.
        ("/stacked/log.db", "btrfs"),
        # A file that is mounted by itself.
        ("/var/lib/hub.db", "fakeowner"),
        ("/var/lib/hub.db-wal", "ext4"),
        ("/usb/log.db", "fuseblk"),
    ],
)
def test_the_file_system_of_a_path(path: str, kind: str) -> None:
    assert file_system(TABLE, path) == kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/office/log.db", "nfs4"),
        ("/my files/log.db", "virtiofs"),
        ("/bucket/log.db", "fuse.s3fs"),
        ("/var/lib/hub.db", "fakeowner"),
        ("/stacked/log.db", ""),
        ("/usb/log.db", ""),
        ("/layers/log.db", ""),
    ],
)
def test_what_is_refused(path: str, kind: str) -> None:
    assert shared_file_system(TABLE, path) == kind


SHARED = (
    "nfs nfs4 cifs smb3 afs ncpfs lustre ceph glusterfs 9p virtiofs vboxsf prl_fs"
    " fuse fuse.sshfs fuse.glusterfs"
)
LOCAL = "ext2 ext3 ext4 xfs btrfs zfs tmpfs overlay f2fs bcachefs fuseblk fuse.fuse-overlayfs"


@pytest.mark.parametrize(("kinds", "refused"), [(SHARED, True), (LOCAL, False)])
def test_each_type(kinds: str, refused: bool) -> None:
    for kind in kinds.split():
        found = shared_file_system(f"27 1 254:0 / / rw - {kind} source rw", "/log.db")
        assert found == (kind if refused else "")


@pytest.mark.parametrize("table", ["", "\n", "27 1 254:0", "27 1 254:0 / / rw", "a b c d /x - nfs s rw"])
def test_a_table_that_says_nothing(table: str) -> None:
    assert shared_file_system(table, "/log.db") == ""


def test_a_log_on_a_network_is_refused_and_nothing_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = os.path.realpath(tmp_path)
    monkeypatch.setattr(mounts, "mounts", lambda: f"1 0 0:1 / {folder} rw - nfs4 server:/ rw")
    with pytest.raises(StartRefused, match="file system nfs4.*use a named volume"):
        LogFile(os.fspath(tmp_path / "log.db"))
    assert os.listdir(tmp_path) == []


def test_this_systems_own_table(tmp_path: Path) -> None:
    LogFile(os.fspath(tmp_path / "log.db")).close()


@pytest.mark.skipif(not os.path.exists(mounts.MOUNTS), reason="this system does not list its mounts there")
def test_this_systems_root() -> None:
    assert file_system(mounts.mounts(), "/proc/self/log.db") == "proc"
