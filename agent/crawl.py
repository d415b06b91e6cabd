"""Walking everything below the watch paths.

What is not visited, because its folder is gone, is missed like a file that is gone; what cannot be
read or is not mounted is spared.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from agent.findings import Counts, Findings
from agent.index import Index
from agent.scan import OpenFolder
from events import paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.scope import Scope
    from agent.state import State
    from events.ids import NodeId

_UNREADABLE_KEPT: Final = 20


class Stopped(Exception):
    """The crawl was asked to end early; what it wrote so far stays."""


@dataclass
class Progress:
    """What a crawl has done so far; written by its thread, read by others."""

    seen: int = 0
    folders: int = 0
    unreadable: int = 0
    first_unreadable: list[str] = field(default_factory=list)
    # Watch paths, and mount points below them, that are not there now.
    inaccessible: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    ms: int = 0

    def report(self, path: str) -> None:
        self.unreadable += 1
        if len(self.first_unreadable) < _UNREADABLE_KEPT:
            self.first_unreadable.append(path)


@dataclass(frozen=True)
class Job:
    """What a crawl needs to know."""

    state: State
    node: NodeId
    scope: Scope
    unstable: frozenset[int] = frozenset()
    # Called with each folder before it is read, so that no change after that is lost.
    watch: Callable[[str], None] | None = None
    written: Callable[[], None] = lambda: None
    stop: threading.Event = field(default_factory=threading.Event)
    progress: Progress = field(default_factory=Progress)

    def index(self) -> Index:
        return Index(
            self.state, Findings(self.state, self.node, self.written), self.scope, self.unstable
        )


# The folders above one, nearest first, as (st_dev, st_ino): a folder that is its own ancestor is a
# loop made of bind mounts.
_Chain = tuple[int, int, "_Chain | None"]
_Step = tuple[str, _Chain | None]


def crawl(job: Job) -> Progress:
    """Bring the state up to the disk, everywhere. Raises Stopped, DiskFull and their kin."""
    began = time.monotonic()
    index = job.index()
    walk = Walk(job, index)
    for root in job.scope.roots:
        walk.below(root)
    index.miss_unvisited()
    index.settle()
    progress = job.progress
    progress.inaccessible = sorted({*walk.inaccessible, *index.spared} - walk.unreadable)
    progress.counts = index.findings.counts
    progress.ms = round((time.monotonic() - began) * 1000)
    return progress


class Walk:
    """Visits folders, and knows which of them it could not look into."""

    def __init__(self, job: Job, index: Index) -> None:
        self._job = job
        self._index = index
        self.inaccessible: set[str] = set()
        self.unreadable: set[str] = set()

    def below(self, top: str) -> None:
        """Visit a folder and all below it."""
        steps: list[_Step] = [(top, None)]
        while steps:
            steps += self._visit(*steps.pop())

    def _visit(self, path: str, above: _Chain | None) -> list[_Step]:
        if self._job.watch is not None:
            self._job.watch(path)
        opened = self._opened(path)
        if opened is None:
            return []
        try:
            if _loops(opened, above):
                return []
            return self._sub_folders(path, opened, above)
        except OSError:
            # The disk failed while the folder was read.
            self._spare(path, self.unreadable)
            return []
        finally:
            opened.close()

    def _opened(self, path: str) -> OpenFolder | None:
        is_root = path in self._job.scope.roots
        try:
            return OpenFolder(paths.to_os(path), follow=is_root)
        except (FileNotFoundError, NotADirectoryError):
            if is_root:
                self._spare(path, self.inaccessible)
        except OSError as wrong:
            # ELOOP: a link has taken the folder's place, so it is gone.
            if wrong.errno != errno.ELOOP:
                self._spare(path, self.inaccessible if is_root else self.unreadable)
        return None

    def _sub_folders(
        self,
        path: str,
        opened: OpenFolder,
        above: _Chain | None,
    ) -> list[_Step]:
        progress = self._job.progress
        mount = opened.dev != (above[0] if above else _dev_above(path, opened.dev))
        chain = (opened.dev, opened.ino, above)
        steps: list[_Step] = []
        for chunk in self._index.look(path, opened, mount=mount):
            if self._job.stop.is_set():
                raise Stopped
            progress.seen += len(chunk.files)
            for name in chunk.unreadable:
                progress.report(paths.join(path, name))
            steps += [(paths.join(path, paths.to_text(name)), chain) for name in chunk.folders]
        progress.folders += 1
        return steps

    def _spare(self, path: str, why: set[str]) -> None:
        why.add(path)
        self._index.spared.add(path)
        if why is self.unreadable:
            self._job.progress.report(path)


def _loops(opened: OpenFolder, above: _Chain | None) -> bool:
    while above is not None:
        dev, ino, above = above
        if (dev, ino) == (opened.dev, opened.ino):
            return True
    return False


def _dev_above(path: str, dev: int) -> int:
    try:
        return os.stat(os.path.join(paths.to_os(path), "..")).st_dev
    except OSError:
        return dev
