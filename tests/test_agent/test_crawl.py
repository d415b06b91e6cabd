"""The crawl against what disks really hold."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from agent.crawl import Stopped, crawl
from agent.findings import Counts
from agent.scope import Scope
from agent.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.test_agent.disk import Disk

IS_ROOT: Final = os.geteuid() == 0
NOBODY: Final = 65534
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root may mount")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so it becomes somebody else for a while."""
    if IS_ROOT:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if IS_ROOT:
            os.seteuid(0)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Something mounted at a folder: by default an empty filesystem."""
    command = options or ("-t", "tmpfs", "tmpfs")
    subprocess.run(["mount", *command, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=False, capture_output=True)


def open_to_all(folder: Path) -> None:
    for each in (folder, *folder.parents):
        if str(each).startswith("/tmp/"):
            each.chmod(0o755)


def test_the_first_crawl_indexes_all_and_the_second_finds_nothing(disk: Disk) -> None:
    disk.write("a")
    disk.write("d/e/b")
    first = disk.crawl()
    assert first.counts == Counts(indexed=2)
    assert (first.seen, first.folders) == (2, 3)
    assert disk.crawl().counts.total == 0
    disk.check()


def test_only_regular_files_are_indexed_and_links_are_not_followed(disk: Disk) -> None:
    disk.write("real/file")
    (disk.root / "link").symlink_to("real/file")
    (disk.root / "folder-link").symlink_to("real")
    os.mkfifo(disk.root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(disk.root / "socket"))
        disk.crawl()
    assert list(disk.living()) == [str(disk.root / "real/file")]


def test_a_file_that_becomes_a_link_or_a_folder_is_deleted(disk: Disk) -> None:
    one, two = disk.write("one"), disk.write("two")
    disk.crawl()
    one.unlink()
    one.symlink_to("elsewhere")
    two.unlink()
    two.mkdir()
    assert disk.crawl().counts == Counts(deleted=2)
    disk.check()


def test_a_folder_moved_and_linked_from_its_old_place_is_a_rename(disk: Disk) -> None:
    file = disk.write("old/file")
    disk.crawl()
    id = disk.id(file)
    os.rename(disk.root / "old", disk.root / "new")
    (disk.root / "old").symlink_to("new")
    assert disk.crawl().counts == Counts(renamed=1)
    assert disk.id(disk.root / "new/file") == id


def test_a_hard_link_is_another_file(disk: Disk) -> None:
    file = disk.write("a")
    disk.crawl()
    os.link(file, disk.root / "b")
    assert disk.crawl().counts == Counts(indexed=1)
    disk.check()


def test_swapped_files_stay_where_they_are(disk: Disk) -> None:
    one, two = disk.write("one", "1"), disk.write("two", "22")
    disk.crawl()
    before = disk.living()
    os.rename(one, disk.root / "spare")
    os.rename(two, one)
    os.rename(disk.root / "spare", two)
    assert disk.crawl().counts == Counts(changed=2)
    assert disk.living() == before


def test_a_file_put_in_place_with_the_same_size_and_time_has_changed(disk: Disk) -> None:
    file = disk.write("a", "old")
    disk.crawl()
    new = disk.write("b", "new")
    status = file.stat()
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.rename(new, file)
    assert disk.crawl().counts == Counts(changed=1)


def test_an_inode_used_again_is_not_a_rename(disk: Disk) -> None:
    file = disk.write("a", "1")
    disk.crawl()
    ino = file.stat().st_ino
    file.unlink()
    # ext4 and tmpfs hand out a number that just became free, or the next one.
    for number in range(50):
        new = disk.write(f"new{number}", "1")
        os.utime(new, ns=(0, number))
        if new.stat().st_ino == ino:
            break
    counts = disk.crawl().counts
    assert (counts.renamed, counts.deleted) == (0, 1)
    disk.check()


def test_what_comes_back_from_elsewhere_keeps_its_identity(disk: Disk) -> None:
    file = disk.write("docs/a")
    disk.crawl()
    id = disk.id(file)
    outside = disk.root.parent / "outside"
    os.rename(file, outside)
    assert disk.crawl().counts == Counts(deleted=1)
    disk.write("archive/b")
    os.rename(outside, disk.root / "archive/a")
    assert disk.crawl().counts == Counts(indexed=1, renamed=1)
    assert disk.id(disk.root / "archive/a") == id


@pytest.mark.parametrize("ns", [-(10**18), -1, 4 * 10**18])
def test_strange_times(disk: Disk, ns: int) -> None:
    os.utime(disk.write("a"), ns=(0, ns))
    disk.crawl()
    assert disk.crawl().counts.total == 0
    disk.check()


@needs_root
def test_a_time_beyond_64_bits(disk: Disk) -> None:
    folder = disk.root / "tmpfs"
    folder.mkdir()
    with mounted(folder):
        file = disk.write("tmpfs/a")
        subprocess.run(["touch", "-d", "@9223372036854775000", file], check=True)
        assert file.stat().st_mtime_ns > 1 << 63
        disk.crawl()
        assert disk.crawl().counts.total == 0
        assert [each.mtime for each in disk.files().values()] == [(1 << 63) - 1]


def test_nothing_in_an_unreadable_folder_is_deleted(disk: Disk) -> None:
    disk.write("open/a")
    closed = disk.write("closed/deep/b").parent.parent
    disk.crawl()
    (disk.root / "open/a").unlink()
    open_to_all(disk.root)
    closed.chmod(0)
    with as_nobody():
        found = disk.crawl()
    closed.chmod(0o755)
    assert found.counts == Counts(deleted=1)
    assert (found.unreadable, found.first_unreadable) == (1, [str(closed)])
    assert disk.crawl().counts.total == 0


def test_a_folder_that_lists_but_does_not_tell_is_spared(disk: Disk) -> None:
    folder = disk.write("blind/a").parent
    disk.crawl()
    open_to_all(disk.root)
    folder.chmod(0o444)
    with as_nobody():
        found = disk.crawl()
    folder.chmod(0o755)
    assert found.counts.total == 0
    assert found.first_unreadable == [str(folder / "a")]


def test_a_missing_watch_path_deletes_nothing_until_it_is_back(disk: Disk) -> None:
    disk.write("a")
    disk.write("d/b")
    disk.crawl()
    away = disk.root.with_name("away")
    disk.root.rename(away)
    gone = disk.crawl()
    assert (gone.counts.total, gone.inaccessible) == (0, [str(disk.root)])
    away.rename(disk.root)
    (disk.root / "a").unlink()
    back = disk.crawl()
    assert (back.counts, back.inaccessible) == (Counts(deleted=1), [])


@needs_root
@pytest.mark.parametrize("where", ["", "usb"])
@pytest.mark.parametrize("mount_point_stays", [True, False])
def test_an_unmounted_disk_deletes_nothing(
    disk: Disk, tmp_path: Path, where: str, mount_point_stays: bool
) -> None:
    folder = disk.root / where
    folder.mkdir(exist_ok=True)
    content = tmp_path / "content"
    content.mkdir()
    with mounted(content):
        with mounted(folder, "--bind", str(content)):
            disk.write(os.path.join(where, "a"))
            disk.write(os.path.join(where, "d/b"))
            disk.crawl()
        if not mount_point_stays:
            folder.rmdir()
        for _ in range(2):
            away = disk.crawl()
            assert (away.counts.total, away.inaccessible) == (0, [str(folder)])
        folder.mkdir(exist_ok=True)
        with mounted(folder, "--bind", str(content)):
            (folder / "a").unlink()
            back = disk.crawl()
            assert (back.counts, back.inaccessible) == (Counts(deleted=1), [])


@needs_root
def test_a_loop_of_bind_mounts_ends(disk: Disk) -> None:
    disk.write("d/a")
    loop = disk.root / "d/loop"
    loop.mkdir()
    with mounted(loop, "--bind", str(disk.root)):
        assert disk.crawl().seen == 1
    disk.check()


def test_inode_numbers_that_do_not_last_are_not_used(disk: Disk) -> None:
    file = disk.write("a")
    disk.unstable = frozenset({disk.root.stat().st_dev})
    disk.crawl()
    # The same file under another number, as after a mount of a FAT disk.
    status = file.stat()
    disk.write("b")
    os.utime(disk.root / "b", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.rename(disk.root / "b", file)
    assert disk.crawl().counts.total == 0
    os.rename(file, disk.root / "c")
    assert disk.crawl().counts == Counts(indexed=1, deleted=1)


def test_excluded_names_and_paths(disk: Disk) -> None:
    for name in ("keep", "x.tmp", "node_modules/m", "d/node_modules/n", "d/keep", "secret/s"):
        disk.write(name)
    disk.crawl()
    disk.scope = Scope([str(disk.root)], ["*.tmp", "node_modules", str(disk.root / "secret")])
    assert disk.crawl().counts == Counts(deleted=4)
    assert set(disk.living()) == {str(disk.root / "keep"), str(disk.root / "d/keep")}
    disk.scope = Scope([str(disk.root)])
    assert disk.crawl().counts == Counts(restored=4)
    disk.check()


def test_a_watch_path_that_is_taken_out_deletes_its_files(disk: Disk) -> None:
    disk.write("one/a")
    disk.write("two/b")
    disk.scope = Scope([str(disk.root / "one"), str(disk.root / "two")])
    disk.crawl()
    disk.scope = Scope([str(disk.root / "one")])
    assert disk.crawl().counts == Counts(deleted=1)


def test_a_large_folder_is_compared_in_chunks(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.index._SMALL", 10)
    monkeypatch.setattr("agent.scan.CHUNK", 7)
    for number in range(40):
        disk.write(f"f{number}")
    assert disk.crawl().counts == Counts(indexed=40)
    assert disk.crawl().counts.total == 0
    for number in range(5):
        (disk.root / f"f{number}").unlink()
    (disk.root / "f5").rename(disk.root / "renamed")
    disk.write("f6", "longer")
    disk.write("new")
    assert disk.crawl().counts == Counts(indexed=1, changed=1, renamed=1, deleted=5)
    disk.check()


def test_folders_that_vanish_while_they_are_read(disk: Disk) -> None:
    for number in range(30):
        disk.write(f"d{number}/e/f")
    disk.crawl()
    done = threading.Event()

    def shuffle() -> None:
        number = 0
        while not done.is_set():
            number = (number + 1) % 30
            here, there = disk.root / f"d{number}", disk.root / f"moved{number}"
            os.rename(here, there) if here.exists() else os.rename(there, here)

    restless = threading.Thread(target=shuffle)
    restless.start()
    try:
        for _ in range(20):
            disk.crawl()
    finally:
        done.set()
        restless.join()
    disk.crawl()
    disk.check()
    # However often they moved while nobody or everybody looked, they are the same files.
    assert len(disk.files()) == 30


def test_a_stopped_crawl_goes_on_where_it_was(disk: Disk) -> None:
    for number in range(20):
        disk.write(f"d{number}/f")
    job = disk.job()
    job.stop.set()
    with pytest.raises(Stopped):
        crawl(job)
    disk.crawl()
    disk.check()


def test_messages_keep_to_their_limits(disk: Disk) -> None:
    deep = "/".join(["\x01" * 80] * 20)
    for number in range(1100):
        disk.write(f"{deep}/{number}" if number % 2 else f"{number}")
    disk.crawl()
    assert all(len(each.body) < 600 * 1024 for each in disk.messages())
    assert len(disk.messages()) < 40
    disk.check()


def test_state_survives_being_opened_again(disk: Disk) -> None:
    disk.write("a")
    disk.crawl()
    disk.state.close()
    disk.state = State(disk.database)
    assert disk.crawl().counts.total == 0
