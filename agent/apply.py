"""Bringing the state up to the disk at some paths: what the watcher asks for.

New things are looked at before missing ones are told as deleted, so that a move whose two halves
are in one batch is a rename.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from agent.crawl import Job, Progress, Stopped, Walk
from agent.scope import ancestors
from events import paths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.index import Index
    from agent.state import Sighting


def apply(job: Job, changed: Iterable[str]) -> Progress:
    """Compare these paths, and everything below those that are folders, with the state."""
    began = time.monotonic()
    index = job.index()
    # A batch is small; what makes a first crawl fast would hide what an earlier phase wrote.
    index.fresh = False
    batch = _Batch(job, index)
    for path in sorted(set(changed)):
        batch.sort(path)
    batch.compare()
    progress = job.progress
    progress.counts = index.findings.counts
    progress.ms = round((time.monotonic() - began) * 1000)
    return progress


class _Batch:
    """Changed paths, sorted by what stands there now."""

    def __init__(self, job: Job, index: Index) -> None:
        self._job = job
        self._index = index
        self._files: dict[str, list[Sighting]] = {}
        self._trees: set[str] = set()
        self._other: list[str] = []

    def sort(self, path: str) -> None:
        scope, index = self._job.scope, self._index
        parent, name = paths.split(path)
        if not scope.covers(path) or any(each in self._trees for each in ancestors(path)):
            return
        if path not in scope.roots and not index.is_real(parent):
            # Reached through a symbolic link, or its folder is gone, which has an event of its own.
            return
        try:
            status = os.lstat(paths.to_os(path))
        except (FileNotFoundError, NotADirectoryError):
            self._other.append(path)
            return
        except OSError:
            self._job.progress.report(path)
            return
        if stat.S_ISREG(status.st_mode):
            ino = 0 if status.st_dev in self._job.unstable else status.st_ino
            sighting = (name, status.st_size, status.st_mtime_ns, ino)
            self._files.setdefault(parent, []).append(sighting)
            if index.state.folder(path) is None:
                return
        elif stat.S_ISDIR(status.st_mode):
            self._trees.add(path)
        self._other.append(path)

    def compare(self) -> None:
        index = self._index
        self._compare_files()
        walk = Walk(self._job, index)
        for tree in sorted(self._trees):
            if not any(each in self._trees for each in list(ancestors(tree))[1:]):
                walk.below(tree)
                index.miss_unvisited(tree)
        for path in self._other:
            self._miss(path)
        for root in self._job.scope.roots:
            if not os.path.isdir(paths.to_os(root)):
                index.spared.add(root)
        index.settle()

    def _compare_files(self) -> None:
        for parent, sightings in self._files.items():
            if self._job.stop.is_set():
                raise Stopped
            folder = self._index.state.folder(parent)
            if folder is None:
                # A folder that is new itself: look at all of it.
                self._trees.add(parent)
                continue
            self._job.progress.seen += len(sightings)
            self._index.differing(folder, sightings)
        self._index.findings.write()

    def _miss(self, path: str) -> None:
        """Whatever else was known at the path: a file that is now a folder, or the reverse."""
        index, state = self._index, self._index.state
        parent, name = paths.split(path)
        if path not in self._trees:
            index.miss_unvisited(path)
        folder = state.folder(parent)
        if folder is not None:
            index.miss(row.id for row in state.living(folder.id, [name]).values())
