"""Comparing the disk with what is known of it, folder by folder.

Crawl and watch both go through here, so that a file has the same identity whichever of the two saw
it first. One thread at a time uses an `Index`.
"""

from __future__ import annotations

import os
import stat
from array import array
from typing import TYPE_CHECKING, Final

from agent import diff
from agent.diff import Candidate, Place, Verdict
from agent.scope import Scope, ancestors
from events import paths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.findings import Findings
    from agent.scan import Chunk, OpenFolder
    from agent.state import Folder, Row, Sighting, State

# A folder with more known files than this is compared chunk by chunk.
_SMALL: Final = 20_000
# How many files with one inode number, size and time are looked at; there are more only when
# somebody keeps backups as hard links, and those are not renamed.
_CANDIDATES: Final = 32


class Index:
    """One comparison of disk and state: `look` at folders, then `settle` what was missed."""

    def __init__(
        self, state: State, findings: Findings, scope: Scope, unstable: frozenset[int]
    ) -> None:
        self.state = state
        self.findings = findings
        self.scope = scope
        # Filesystems (st_dev) whose inode numbers do not last.
        self.unstable = unstable
        # With nothing known there is nothing to look up.
        self.fresh = state.is_empty()
        # Ids of rows that were not where they were expected. Whether they are gone is decided at
        # the end, when every place that they may have moved to was looked at.
        self._missed = array("q")
        # Known folders that were looked at, one byte for each id. New ones need no mark.
        self._visited = bytearray(state.last_folder() + 1)
        # Folders of which nothing can be said now: nothing at or below them is gone.
        self.spared: set[str] = set()
        self._real: dict[str, bool] = {}

    # --- one folder ---

    def look(self, path: str, opened: OpenFolder, *, mount: bool) -> Iterable[Chunk]:
        """Compare an open folder; yields its chunks as they are read, for their sub-folders."""
        known = None if self.fresh else self.state.folder(path)
        skip = self.scope.skip(path)
        inodes = opened.dev not in self.unstable
        chunk = opened.read(skip, inodes=inodes)
        empty = not (chunk.files or chunk.folders or chunk.unreadable or chunk.more)
        if known is not None and known.mount and not mount and empty:
            # An empty folder where another filesystem used to begin: it is not mounted now.
            self.spared.add(path)
            return
        folder = self.findings.folder(path, opened.dev, mount=mount, known=known)
        if folder.id < len(self._visited):
            self._visited[folder.id] = 1
        if known is None:
            while True:
                self._added(folder, chunk.files)
                yield chunk
                if not chunk.more:
                    return
                chunk = opened.read(skip, inodes=inodes)
        before = self.state.sightings(folder.id, _SMALL)
        if not chunk.more and len(before) < _SMALL:
            self._compare(folder, chunk.files, before)
            yield chunk
            return
        del before
        yield from self._look_in_chunks(folder, opened, chunk, inodes=inodes)

    def _compare(self, folder: Folder, now: list[Sighting], before: list[Sighting]) -> None:
        known, seen = set(before), set(now)
        if known == seen:
            return
        names = {each[0] for each in seen}
        missing = [each[0] for each in known - seen if each[0] not in names]
        self._missed.extend(row.id for row in self.state.living(folder.id, missing).values())
        self.differing(folder, seen - known)

    def _look_in_chunks(
        self, folder: Folder, opened: OpenFolder, chunk: Chunk, *, inodes: bool
    ) -> Iterable[Chunk]:
        # One byte for each row there ever was: a million files take a megabyte.
        last = self.state.last_file()
        met = bytearray(last + 1)
        skip = self.scope.skip(folder.path)
        while True:
            rows = self.state.living(folder.id, (each[0] for each in chunk.files))
            for row in rows.values():
                if row.id <= last:
                    met[row.id] = 1
            self._differing(folder, chunk.files, rows)
            yield chunk
            if not chunk.more:
                break
            chunk = opened.read(skip, inodes=inodes)
        after = 0
        while ids := self.state.living_ids(folder.id, after, _SMALL):
            after = ids[-1]
            self._missed.extend(id for id in ids if id <= last and not met[id])

    # --- what differs ---

    def differing(self, folder: Folder, sightings: Iterable[Sighting]) -> None:
        """Tell files of a folder that may not be as they are known."""
        sightings = list(sightings)
        rows = self.state.living(folder.id, (each[0] for each in sightings))
        self._differing(folder, sightings, rows)

    def _differing(self, folder: Folder, sightings: list[Sighting], rows: dict[str, Row]) -> None:
        added: list[Sighting] = []
        touched = self.findings.touched
        for raw in sightings:
            row = rows.get(raw[0])
            if row is not None and row[5:8] == raw[1:]:
                continue
            seen = diff.clamped(raw)
            # A touched row has moved away in what is not written yet: the place is free.
            if row is None or row.id in touched:
                added.append(seen)
            elif not diff.unchanged(row, seen):
                self.findings.changed(folder, row, seen)
            elif row.ino != seen[3]:
                self.findings.adopted(folder, row, seen)
        self._added(folder, added)

    def _added(self, folder: Folder, sightings: list[Sighting]) -> None:
        """Files at places where no living file is known."""
        if self.fresh:
            self.findings.indexed(folder, [diff.clamped(each) for each in sightings])
            return
        new: list[Sighting] = []
        for raw in sightings:
            seen = diff.clamped(raw)
            name, size, mtime, ino = seen
            touched = self.findings.touched
            same = [
                Candidate(row, place.dev, place.path)
                for row, place in self.state.same_inode(ino, size, mtime, _CANDIDATES)
                if row.id not in touched
            ]
            here = self.state.deleted_at(folder.id, name)
            if here is not None and here.id in touched:
                here = None
            verdict, which = diff.identify(seen, folder.dev, folder.id, same, here, self._place)
            if verdict is Verdict.HOME:
                continue
            if isinstance(which, Candidate):
                self.findings.renamed(folder, which.row, seen, which.folder)
            elif verdict is Verdict.RESTORED and which is not None:
                self.findings.restored(folder, which, seen)
            else:
                new.append(seen)
        self.findings.indexed(folder, new)

    def _place(self, candidate: Candidate) -> Place:
        row = candidate.row
        if self.gone(candidate.folder, row.name):
            return Place.VACANT
        try:
            status = os.lstat(paths.to_os(paths.join(candidate.folder, row.name)))
        except OSError:
            return Place.TAKEN
        here = (status.st_dev, status.st_ino) == (candidate.dev, row.ino)
        return Place.HOME if here and status.st_nlink == 1 else Place.TAKEN

    # --- what is missing ---

    def miss(self, rows: Iterable[int]) -> None:
        """Files that were not where they were expected."""
        self._missed.extend(rows)

    def miss_unvisited(self, below: str = "/") -> None:
        """Miss the files of known folders that were not looked at."""
        visited = self._visited
        unvisited = [
            folder
            for folder in self.state.folders(below)
            if folder.id < len(visited) and not visited[folder.id]
        ]
        for folder in unvisited:
            # Where another filesystem began and nothing is now: it is not mounted. Excluding it is
            # the way to say that it will not come back.
            if folder.mount and self.scope.covers(folder.path):
                self.spared.add(folder.path)
        for folder in unvisited:
            self.miss(self.state.living_ids(folder.id))

    def settle(self) -> None:
        """Tell the files that were missed, and are still not there, as deleted."""
        self.findings.write()
        for id in self._missed:
            row = self.state.row(id)
            if row.deleted or id in self.findings.touched:
                continue
            folder = str(self.state.value("SELECT path FROM folders WHERE id = ?", (row.folder,)))
            if not self._is_spared(folder) and self.gone(folder, row.name):
                self.findings.deleted(folder, row)
        self._missed = array("q")
        self.findings.write()

    def _is_spared(self, folder: str) -> bool:
        return bool(self.spared) and any(each in self.spared for each in ancestors(folder))

    def gone(self, folder: str, name: str) -> bool:
        """Whether a known file is certainly not at its place, or its place is not looked at now.

        A place that cannot be read may still hold it.
        """
        path = paths.join(folder, name)
        if not self.scope.covers(path):
            return True
        try:
            status = os.lstat(paths.to_os(path))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return not stat.S_ISREG(status.st_mode) or not self.is_real(folder)

    def is_real(self, folder: str) -> bool:
        """Whether no symbolic link leads to the folder; asked once for each folder."""
        real = self._real.get(folder)
        if real is None:
            if len(self._real) > 10_000:
                self._real.clear()
            real = self._real[folder] = self.scope.real(folder)
        return real
