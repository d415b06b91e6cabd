"""ANNOTATIONS, REPLICAS and ACCESS: what was found out about files, and what was done with them.

All batched like file events. These streams keep everything that a view needs, and their documents
count their own generation: one more for each record.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from events.vocabulary.base import Event, Record, Time
from events.vocabulary.files import Count, Int64

# Many of them add up to a number that a view can still hold.
Times = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class Annotation(Record, frozen=True, kw_only=True):
    file_id: str
    data: dict[str, Any]
    # The file's `v` that the plugin saw: older than the file's means it should be looked at again.
    file_v: int | None = None


class AnnotationWritten(Event, frozen=True, kw_only=True, tag="annotation.written"):
    """A plugin's present result for files, replacing the one before."""

    area: ClassVar[str] = "annotations"
    annotations: list[Annotation]


class AnnotationRemoved(Event, frozen=True, kw_only=True, tag="annotation.removed"):
    area: ClassVar[str] = "annotations"
    file_ids: list[str]


class Replica(Record, frozen=True, kw_only=True):
    file_id: str
    remote_key: str
    size: Count
    mtime: Int64
    checksum: str | None = None


class ReplicaWritten(Event, frozen=True, kw_only=True, tag="replica.written"):
    """Copies on a target, and whether each still equals its source."""

    area: ClassVar[str] = "replicas"
    status: Literal["current", "stale", "frozen"]
    replicas: list[Replica]


class ReplicaRemoved(Event, frozen=True, kw_only=True, tag="replica.removed"):
    area: ClassVar[str] = "replicas"
    file_ids: list[str]


class Access(Record, frozen=True, kw_only=True):
    """The last access in the debounced span, and how many there were."""

    file_id: str
    at: Time
    count: Times = 1
    by: Literal["mount", "api", "transfer"] = "mount"


class AccessRecorded(Event, frozen=True, kw_only=True, tag="access.recorded"):
    area: ClassVar[str] = "access"
    accesses: list[Access]
