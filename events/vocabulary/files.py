"""FILES: what an agent found on its disks. Batched: one message carries up to 500 records.

Each record states the file whole, with `v`, the number of changes of that file so far, counted by
its only writer, the agent. A fold that keeps the highest `v` is therefore idempotent and does not
care for order: redelivery, a retry after hours or a replay cannot harm it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

import msgspec

from events.vocabulary.base import Event, Record

# One message stays below both, so that it fits the server's payload limit with room to spare.
BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 512 * 1024

# What SQLite and every client can hold.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Version = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class File(Record, frozen=True, kw_only=True):
    """A file as it was seen: `parent` and `name` are path text, `mtime` is in nanoseconds."""

    id: str
    inode: Count
    parent: str
    name: str
    size: Count
    mtime: Int64
    v: Version


class MovedFile(File, frozen=True, kw_only=True):
    """A file at its new place, and where it was before."""

    was_parent: str
    was_name: str


class GoneFile(Record, frozen=True, kw_only=True):
    """A file that is no longer on the disk, and where it was last."""

    id: str
    parent: str
    name: str
    v: Version


class FileIndexed(Event, frozen=True, kw_only=True, tag="file.indexed"):
    """Files were seen for the first time."""

    area: ClassVar[str] = "files"
    files: list[File]


class FileChanged(Event, frozen=True, kw_only=True, tag="file.changed"):
    """Known files have another size or modification time."""

    area: ClassVar[str] = "files"
    files: list[File]


class FileRenamed(Event, frozen=True, kw_only=True, tag="file.renamed"):
    """Known files stand at another path; each keeps its identity."""

    area: ClassVar[str] = "files"
    files: list[MovedFile]


class FileDeleted(Event, frozen=True, kw_only=True, tag="file.deleted"):
    """Known files are gone. The document stays, marked deleted, and keeps its inode."""

    area: ClassVar[str] = "files"
    files: list[GoneFile]


class FileRestored(Event, frozen=True, kw_only=True, tag="file.restored"):
    """Deleted files are back at the path where they were, with their old identity."""

    area: ClassVar[str] = "files"
    files: list[File]
