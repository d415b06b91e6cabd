"""The kernel's news, scope, filesystems and notices: the small parts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import filesystems
from agent.inotify import Inotify
from agent.notices import Notices
from agent.scope import Scope, within
from events import paths
from events.vocabulary.nodes import Filesystem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.test_agent.disk import Disk

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 22 0:27 / /mnt/usb\\040stick rw - vfat /dev/sdb1 rw
32 22 0:28 / /home/me/Mosaic rw - fuse.mosaicfs mosaicfs rw
33 22 0:29 / /home rw - btrfs /dev/sdc rw
garbage
"""


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    inotify = Inotify()
    yield inotify
    inotify.close()


def test_names_are_bytes_and_links_are_not_followed(inotify: Inotify, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "folder/link").symlink_to(tmp_path / "outside")
    inotify.add(str(tmp_path / "folder"))
    inotify.add(str(tmp_path / "folder/link"))
    assert len(inotify) == 1
    (tmp_path / "outside/x").touch()
    with open(os.fsencode(tmp_path) + b"/folder/\xff\n", "wb"):
        pass
    news = inotify.read()
    name = paths.to_text(os.fsdecode(b"\xff\n"))
    assert news.changed == [f"{tmp_path}/folder/{name}"]
    assert not news.lost
    assert inotify.read().events == 0


def test_a_folder_that_moved_away_is_not_watched_under_its_old_name(
    inotify: Inotify, tmp_path: Path
) -> None:
    (tmp_path / "top/a/b").mkdir(parents=True)
    for folder in ("top", "top/a", "top/a/b"):
        inotify.add(str(tmp_path / folder))
    os.rename(tmp_path / "top/a", tmp_path / "top/c")
    assert set(inotify.read().changed) == {f"{tmp_path}/top/a", f"{tmp_path}/top/c"}
    assert len(inotify) == 1
    inotify.add(str(tmp_path / "top/c/b"))
    (tmp_path / "top/c/b/file").touch()
    assert inotify.read().changed == [f"{tmp_path}/top/c/b/file"]


def test_a_watch_path_that_goes_away_is_told(inotify: Inotify, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    inotify.add(str(tmp_path / "root"), follow=True)
    os.rename(tmp_path / "root", tmp_path / "away")
    assert inotify.read().lost


def test_the_queue_overflows(inotify: Inotify, tmp_path: Path) -> None:
    inotify.add(str(tmp_path))
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(limit // 2 + 100):
        (tmp_path / f"{number}").touch()
    assert inotify.read().lost


def test_scope() -> None:
    scope = Scope(["/w", "/w/in", "/w/x/s/own", "/v"], ["/w/x/s", "*.tmp", ".git"])
    assert scope.roots == ("/w", "/w/x/s/own", "/v")
    for path in ("/w", "/w/a", "/w/in/b", "/w/x/s/own/f", "/v/x/s"):
        assert scope.covers(path), path
    for path in ("/", "/wx", "/w/x/s", "/w/x/s/f", "/w/a.tmp", "/w/.git/config", "/v/d/x.tmp/y"):
        assert not scope.covers(path), path


@given(st.lists(st.sampled_from(["a", "b", "ab"]), max_size=4), st.integers(0, 4))
def test_within_is_about_whole_names(parts: list[str], length: int) -> None:
    path = "/" + "/".join(parts)
    folder = "/" + "/".join(parts[:length])
    assert within(path, folder)
    assert not within(path + "c", folder) or length < len(parts) or folder == "/"


def test_mounts() -> None:
    mounted = filesystems.mounts(MOUNTINFO)
    assert [each.point for each in mounted] == ["/", "/mnt/usb stick", "/home/me/Mosaic", "/home"]
    assert filesystems.own_mounts(mounted) == ["/home/me/Mosaic"]
    assert filesystems.unstable(mounted) == {os.makedev(0, 27)}
    assert {each.point for each in filesystems.below(mounted, ["/mnt"])} == {"/mnt/usb stick"}


def test_a_real_filesystem_is_measured(tmp_path: Path) -> None:
    [found] = filesystems.measure(filesystems.mounts(), [str(tmp_path)])
    assert found.watch_paths == [str(tmp_path)]
    assert 0 < found.available <= found.capacity
    assert 0 <= filesystems.fullness(found) < 1
    assert (
        filesystems.fullness(
            Filesystem(mount="/proc", device="proc", kind="proc", capacity=0, available=0)
        )
        == 0
    )


def test_levels_do_not_flap() -> None:
    level = 0
    seen = []
    for used in (0.89, 0.90, 0.895, 0.91, 0.89, 0.87, 0.96, 0.94, 0.92, 0.5):
        level = filesystems.level(used, level)
        seen.append(level)
    assert seen == [0, 1, 1, 1, 1, 0, 2, 2, 1, 0]


def test_notices_are_raised_and_resolved_once(disk: Disk) -> None:
    written: list[None] = []

    def notices() -> Notices:
        return Notices(disk.state, disk.job().node, lambda: written.append(None))

    one = notices()
    one.hold("full:/a", "warning", "t", "m")
    one.hold("full:/a", "warning", "t", "another text")
    one.hold("full:/b", "warning", "t", "m")
    one.hold("full:/a", "error", "t", "worse")
    one.tell_once("done", "t", "m")
    two = notices()
    assert sorted(two.raised("full:")) == ["full:/a", "full:/b"]
    two.tell_once("done", "t", "m")
    two.keep_only("full:", {"full:/b"})
    two.end("full:/a")
    two.end("never")
    told = [
        (type(each.event).__name__, each.address.token("condition")) for each in disk.envelopes()
    ]
    assert told == [
        ("NoticeRaised", "full:/a"),
        ("NoticeRaised", "full:/b"),
        ("NoticeRaised", "full:/a"),
        ("NoticeRaised", "done"),
        ("NoticeResolved", "full:/a"),
    ]
    assert len(written) == len(told)
