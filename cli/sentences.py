"""A stored message as one line for a person, or as one object for a program."""

from __future__ import annotations

import json
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from cli.text import iso, number, safe
from events import codec
from events.errors import Poison
from events.paths import join
from events.vocabulary import Event, catalog, files, nodes, notices, results, tag_of

if TYPE_CHECKING:
    from events.consume import Message

FileEvent = (
    files.FileIndexed
    | files.FileChanged
    | files.FileRenamed
    | files.FileRestored
    | files.FileDeleted
)


def line(message: Message, *, widest_place: int = 16) -> str:
    """Time, place in the log, type, node, and what happened."""
    place = f"{message.stream}#{message.sequence}"
    head = f"{iso(message.stored_ns)}  {place:<{widest_place}}"
    try:
        envelope = codec.decode(message.subject, message.headers, message.body)
    except Poison as wrong:
        return safe(f"{head}  cannot be read: {wrong}")
    where = envelope.address.tokens[0]
    return safe(f"{head}  {tag_of(envelope.event):<20}  {where}  {summary(envelope.event)}")


def record(message: Message) -> dict[str, Any]:
    """The message whole. `event` is the body as stored; `error` says why it cannot be read."""
    headers = message.headers or {}
    found: dict[str, Any] = {
        "stream": message.stream,
        "sequence": message.sequence,
        "subject": message.subject,
        "stored": iso(message.stored_ns),
        "id": headers.get(codec.MESSAGE_ID, ""),
        "type": headers.get(codec.TYPE, ""),
        "time": headers.get(codec.TIME, ""),
        "actor": headers.get(codec.ACTOR, ""),
        "trace": headers.get(codec.TRACE, ""),
    }
    try:
        codec.decode(message.subject, message.headers, message.body)
    except Poison as wrong:
        found["error"] = str(wrong)
    try:
        found["event"] = json.loads(message.body)
    except ValueError:
        found["event"] = message.body.decode(errors="replace")
    return found


def type_of(message: Message) -> str:
    """The event type as its header says."""
    return (message.headers or {}).get(codec.TYPE, "")


@singledispatch
def summary(event: Event) -> str:
    """What happened, in a few words; nothing where the type says it all."""
    return ""


@summary.register(files.FileIndexed)
@summary.register(files.FileChanged)
@summary.register(files.FileRenamed)
@summary.register(files.FileRestored)
@summary.register(files.FileDeleted)
def _(event: FileEvent) -> str:
    if not event.files:
        return "no files"
    first = event.files[0]
    path = join(first.parent, first.name)
    if isinstance(first, files.MovedFile):
        path = f"{join(first.was_parent, first.was_name)} \u2192 {path}"
    return path if len(event.files) == 1 else f"{_counted(len(event.files), 'file')}, first {path}"


@summary.register
def _(event: catalog.CatalogEvent) -> str:
    return f"{event.kind} {event.id}"


@summary.register
def _(event: nodes.NodeRegistered) -> str:
    return f"{event.friendly_name} watches {', '.join(event.watch_paths) or 'nothing'}"


@summary.register
def _(event: nodes.NodeStatus) -> str:
    return f"{_counted(event.files, 'file')}, {number(event.outbox)} in the outbox"


@summary.register
def _(event: nodes.NodeOffline) -> str:
    return event.reason.replace("_", " ")


@summary.register
def _(event: nodes.UtilizationMeasured) -> str:
    return _counted(len(event.filesystems), "filesystem")


@summary.register
def _(event: results.AnnotationWritten) -> str:
    return _counted(len(event.annotations), "annotation")


@summary.register
def _(event: results.ReplicaWritten) -> str:
    return f"{_counted(len(event.replicas), 'replica')} {event.status}"


@summary.register(results.AnnotationRemoved)
@summary.register(results.ReplicaRemoved)
def _(event: results.AnnotationRemoved | results.ReplicaRemoved) -> str:
    return _counted(len(event.file_ids), "file")


@summary.register
def _(event: results.AccessRecorded) -> str:
    return _counted(len(event.accesses), "access", "accesses")


@summary.register
def _(event: notices.NoticeRaised) -> str:
    return f"{event.severity}: {event.title}"


@summary.register
def _(event: notices.NoticeAcknowledged) -> str:
    return f"by {event.by}"


@summary.register
def _(event: notices.AuditRecorded) -> str:
    return f"{event.action} {event.subject} {event.outcome}"


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{number(count)} {one if count == 1 else many or one + 's'}"
