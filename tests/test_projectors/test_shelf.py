"""The shelf: one writer, one current build, and readers that keep what they have open."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from projectors.documents.reader import NoView, Reader
from projectors.documents.view import DocumentsView, beside, create
from projectors.shelf import Shelf, ViewTaken
from tests.test_projectors.tape import CREATED, Tape, a_file

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event
    from pathlib import Path

    from tests.conftest import LogRecords


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "documents.db")


def a_build(shelf: Shelf, *names: str) -> Path:
    path = shelf.fresh()
    with closing(DocumentsView(path)) as view:
        view.adopt(CREATED)
        view.apply([Tape().index(*(a_file(n, name) for n, name in enumerate(names)))])
    return path


def names(reader: Reader) -> list[str]:
    return [row.name for row in reader.files()]


def test_a_swap_changes_nothing_for_those_who_have_the_old_one_open(shelf: Shelf) -> None:
    old = a_build(shelf, "old")
    shelf.put_forward(old)
    with Reader(shelf.link) as early, early.transaction():
        assert names(early) == ["old"]
        new = a_build(shelf, "new")
        shelf.put_forward(new)
        assert not old.exists()
        assert names(early) == ["old"]
        with Reader(shelf.link) as late:
            assert names(late) == ["new"]
            assert late.epoch() != early.epoch()
        assert names(early) == ["old"]
    assert shelf.current() == new


def test_a_swap_while_the_old_one_is_written(shelf: Shelf) -> None:
    """Its log must not be met by the new file."""
    old = shelf.fresh()
    with closing(DocumentsView(old)) as view, Reader(old) as reader:
        view.adopt(CREATED)
        shelf.put_forward(old)
        view.apply([Tape().index(a_file(1, "in the log of the old one"))])
        shelf.put_forward(a_build(shelf, "new"))
        assert names(reader) == ["in the log of the old one"]
        with Reader(shelf.link) as late:
            assert names(late) == ["new"]
    assert sorted(path.name for path in shelf.link.parent.iterdir() if "-wal" in path.name) == []


def test_nothing_is_current_on_an_empty_shelf(shelf: Shelf) -> None:
    assert shelf.current() is None
    with pytest.raises(NoView):
        Reader(shelf.link)


def test_a_link_to_nothing_and_a_file_in_its_place_are_no_build(shelf: Shelf) -> None:
    shelf.link.symlink_to("documents-gone.db")
    assert shelf.current() is None
    shelf.link.unlink()
    shelf.link.write_bytes(b"somebody put a file here")
    assert shelf.current() is None
    build = a_build(shelf)
    shelf.put_forward(build)
    assert shelf.current() == build


def test_litter_of_a_killed_process_is_cleared_and_nothing_else(shelf: Shelf) -> None:
    current = a_build(shelf, "current")
    shelf.put_forward(current)
    other = a_build(shelf)
    keep = [shelf.link.with_name(name) for name in ("analytics-1.db", "x.tmp", "notes.txt")]
    litter = [other, beside(other, "packed"), beside(shelf.link, "snapshot")]
    litter += [path.with_name(path.name + "-wal") for path in litter]
    litter.append(shelf.link.with_name("documents-0000.db-shm"))
    for path in [*keep, *litter]:
        path.touch()
    with shelf.held(), Reader(shelf.link) as reader:
        assert names(reader) == ["current"]
        assert not any(path.exists() for path in litter)
        assert all(path.exists() for path in keep)


def test_a_damaged_build_is_kept_once(shelf: Shelf, our_log: LogRecords) -> None:
    our_log.expect("the damaged view is kept as .*documents.damaged")
    for content in (b"first", b"second"):
        build = shelf.fresh()
        for suffix in ("", "-wal", "-shm"):
            build.with_name(build.name + suffix).write_bytes(content)
        aside = shelf.set_aside(build)
        assert aside.read_bytes() == content
    assert [path.name for path in shelf.link.parent.iterdir()] == ["documents.damaged"]


def _hold(link: Path, held: Event) -> None:
    with Shelf(link).held():
        held.set()
        signal.pause()


def test_only_one_process_writes_here_and_a_killed_one_does_not_count(shelf: Shelf) -> None:
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    other = spawn.Process(target=_hold, args=(shelf.link, held))
    other.start()
    assert held.wait(20)
    with pytest.raises(ViewTaken, match="another projector"), shelf.held():
        pass
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join(20)
    assert other.exitcode == -signal.SIGKILL
    with shelf.held(), pytest.raises(ViewTaken), Shelf(shelf.link).held():
        pass
    with shelf.held():
        pass


def test_an_empty_view_is_whole_before_it_has_its_name(tmp_path: Path) -> None:
    create(tmp_path / "view.db")
    assert [path.name for path in tmp_path.iterdir()] == ["view.db"]
