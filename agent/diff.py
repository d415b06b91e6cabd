"""Which file is it? Pure: no disk, no database.

A path that holds a known living file keeps that file's identity, whatever is done to it: that is
decided before this module is asked. What is left are files at paths where no living file is known.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.state import Row, Sighting

_INT64: Final = (1 << 63) - 1


class Candidate(NamedTuple):
    """A known file that may be the one that was seen, and what tells them apart."""

    row: Row
    dev: int
    folder: str


class Place(Enum):
    """What stands where a candidate was last."""

    VACANT = "vacant"
    # Another file, or a hard link to this one.
    TAKEN = "taken"
    # The file itself, which has no other link.
    HOME = "home"


class Verdict(Enum):
    """What happened to a file that was seen where no living file was known."""

    INDEXED = "indexed"
    RENAMED = "renamed"
    RESTORED = "restored"
    # It moved back while it was being looked at: what was seen is over.
    HOME = "home"


_MOVED: Final = {Place.VACANT: Verdict.RENAMED, Place.HOME: Verdict.HOME, Place.TAKEN: None}


def clamped(seen: Sighting) -> Sighting:
    """The sighting in SQLite's signed 64 bits.

    A disk may hold a time beyond them (tmpfs does); inode numbers are unsigned and fold over.
    """
    name, size, mtime, ino = seen
    folded = ino - (1 << 64) if ino > _INT64 else ino
    return name, min(size, _INT64), max(-_INT64, min(mtime, _INT64)), folded


def unchanged(row: Row, seen: Sighting) -> bool:
    """Whether nothing was done to a file that stands where it stood.

    Another inode number with the same size and time still is another file, put in its place. An
    inode number of 0 is not known, so it does not count.
    """
    _, size, mtime, ino = seen
    return row.size == size and row.mtime == mtime and (row.ino == ino or not row.ino or not ino)


def identify(
    seen: Sighting,
    dev: int,
    folder: int | None,
    same_inode: Iterable[Candidate],
    deleted_here: Row | None,
    place: Callable[[Candidate], Place],
) -> tuple[Verdict, Candidate | Row | None]:
    """The known file that this is, if any.

    Inode numbers are used again as soon as a file is gone, so a match counts only with the same
    size and the same modification time to the nanosecond. A living candidate must also have left
    its `place`: otherwise this is a hard link, which is a file of its own. A deleted one may come
    back anywhere, which also mends a move whose two halves were seen apart.
    """
    _, size, mtime, ino = seen
    deleted: Candidate | None = None
    for each in same_inode:
        row = each.row
        if not ino or (row.ino, row.size, row.mtime, each.dev) != (ino, size, mtime, dev):
            continue
        if not row.deleted:
            verdict = _MOVED[place(each)]
            if verdict is not None:
                return verdict, each
        elif folder == row.folder and row.name == seen[0]:
            return Verdict.RESTORED, row
        elif deleted is None or row.deleted > deleted.row.deleted:
            deleted = each
    if deleted is not None:
        return Verdict.RENAMED, deleted
    if deleted_here is not None:
        return Verdict.RESTORED, deleted_here
    return Verdict.INDEXED, None
