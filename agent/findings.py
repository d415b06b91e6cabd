"""From what was found to state and outbox: the only writer of folders and files.

Findings are gathered and written a few thousand at a time; each write is one transaction that holds
the new rows and the events about them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from agent.state import Change, Folder, Row, Sighting, State
from events import clock, ids
from events.vocabulary.files import (
    BATCH_BYTES,
    BATCH_RECORDS,
    File,
    FileChanged,
    FileDeleted,
    FileIndexed,
    FileRenamed,
    FileRestored,
    GoneFile,
    MovedFile,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from events.ids import NodeId
    from events.vocabulary import Event

WRITE_EVERY: Final = 5000
# What a record takes in JSON beside its paths, and the most that one character of a path can take
# there (a control character as \u0001).
_RECORD_BYTES: Final = 256
_CHARACTER_BYTES: Final = 6

_R = TypeVar("_R", File, MovedFile, GoneFile)


class Counts(NamedTuple):
    """How many files were found to be what."""

    indexed: int = 0
    changed: int = 0
    renamed: int = 0
    restored: int = 0
    deleted: int = 0

    def __add__(self, other: object) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(*map(sum, zip(self, other, strict=True)))

    @property
    def total(self) -> int:
        return sum(self)


class Findings:
    """Gathers findings; `write` commits them, and happens by itself every few thousand."""

    def __init__(self, state: State, node: NodeId, written: Callable[[], None]) -> None:
        self._state = state
        self._node = node
        self._written = written
        self._ids = ids.new_file_ids(time.time_ns() // 1_000_000)
        self._inodes = ids.new_inodes()
        self._next_folder = state.last_folder() + 1
        self.counts = Counts()
        self._clear()

    def _clear(self) -> None:
        self._folders: dict[int, Folder] = {}
        self._inserts: list[tuple[bytes, int, int, str, int, int, int]] = []
        self._updates: list[Change] = []
        self._indexed: list[File] = []
        self._changed: list[File] = []
        self._restored: list[File] = []
        self._renamed: list[MovedFile] = []
        self._deleted: list[GoneFile] = []
        # Rows whose new values are not in the database yet: what a query says of them is outdated.
        self.touched: set[int] = set()

    # --- what can be found ---

    def folder(self, path: str, dev: int, *, mount: bool, known: Folder | None) -> Folder:
        """The folder's row, new or brought up to date."""
        if known is None:
            found = Folder(self._next_folder, path, dev, mount)
            self._next_folder += 1
        elif (known.dev, known.mount) == (dev, mount):
            return known
        else:
            found = Folder(known.id, path, dev, mount)
        self._folders[found.id] = found
        return found

    def indexed(self, folder: Folder, sightings: Sequence[Sighting]) -> None:
        """Files that were never seen before."""
        path = folder.path
        for (name, size, mtime, ino), id, inode in zip(
            sightings, self._ids, self._inodes, strict=False
        ):
            self._indexed.append(
                File(id=id, inode=inode, parent=path, name=name, size=size, mtime=mtime, v=1)
            )
            self._inserts.append((ids.file_id_bytes(id), inode, folder.id, name, size, mtime, ino))
        self._when_full()

    def changed(self, folder: Folder, row: Row, seen: Sighting) -> None:
        self._changed.append(self._file(folder, row, seen))
        self._update(folder.id, row, seen, row.v + 1)

    def adopted(self, folder: Folder, row: Row, seen: Sighting) -> None:
        """Only the inode number on the disk is news, and nobody else is told it."""
        self._update(folder.id, row, seen, row.v)

    def restored(self, folder: Folder, row: Row, seen: Sighting) -> None:
        self._restored.append(self._file(folder, row, seen))
        self._update(folder.id, row, seen, row.v + 1)

    def renamed(self, folder: Folder, row: Row, seen: Sighting, was_parent: str) -> None:
        self._renamed.append(
            MovedFile(
                id=ids.file_id_text(row.uuid),
                inode=row.inode,
                parent=folder.path,
                name=seen[0],
                size=seen[1],
                mtime=seen[2],
                v=row.v + 1,
                was_parent=was_parent,
                was_name=row.name,
            )
        )
        self._update(folder.id, row, seen, row.v + 1)

    def deleted(self, parent: str, row: Row) -> None:
        """The row stays, with the place where the file was last."""
        self._deleted.append(
            GoneFile(id=ids.file_id_text(row.uuid), parent=parent, name=row.name, v=row.v + 1)
        )
        now = max(1, time.time_ns() // 1_000_000)
        seen = (row.name, row.size, row.mtime, row.ino)
        self._update(row.folder, row, seen, row.v + 1, deleted=now)

    def _file(self, folder: Folder, row: Row, seen: Sighting) -> File:
        return File(
            id=ids.file_id_text(row.uuid),
            inode=row.inode,
            parent=folder.path,
            name=seen[0],
            size=seen[1],
            mtime=seen[2],
            v=row.v + 1,
        )

    def _update(self, folder: int, row: Row, seen: Sighting, v: int, deleted: int = 0) -> None:
        self._updates.append(Change(folder, *seen, v, deleted, row.id))
        self.touched.add(row.id)
        self._when_full()

    # --- writing ---

    def _when_full(self) -> None:
        if len(self._inserts) + len(self._updates) >= WRITE_EVERY:
            self.write()

    def write(self) -> None:
        """Commit what was gathered. When this raises, nothing of it is written or kept."""
        state = self._state
        # What leaves a place comes before what takes it, for those who read the log in order.
        events: list[Event] = [
            *(FileRenamed(files=batch) for batch in batches(self._renamed)),
            *(FileChanged(files=batch) for batch in batches(self._changed)),
            *(FileRestored(files=batch) for batch in batches(self._restored)),
            *(FileIndexed(files=batch) for batch in batches(self._indexed)),
            *(FileDeleted(files=batch) for batch in batches(self._deleted)),
        ]
        found = Counts(
            len(self._indexed),
            len(self._changed),
            len(self._renamed),
            len(self._restored),
            len(self._deleted),
        )
        folders, updates, inserts = self._folders.values(), self._updates, self._inserts
        self._clear()
        if not folders and not updates and not inserts:
            return
        with state.transaction():
            state.put_folders(folders)
            state.update(updates)
            state.insert(inserts)
            now, actor = clock.now(), f"agent:{self._node}"
            for event in events:
                state.outbox.add(event, self._node, time=now, actor=actor)
        self.counts += found
        if events:
            self._written()


def batches(records: list[_R]) -> Iterator[list[_R]]:
    """The records in order, in runs that fit one message."""
    batch: list[_R] = []
    size = 0
    for record in records:
        more = _RECORD_BYTES + _CHARACTER_BYTES * (len(record.parent) + len(record.name))
        if isinstance(record, MovedFile):
            more += _CHARACTER_BYTES * (len(record.was_parent) + len(record.was_name))
        if batch and (len(batch) >= BATCH_RECORDS or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += more
    if batch:
        yield batch
