"""Events into documents. Pure: no I/O, no clock; the same log gives the same documents.

`fold` covers every stream but FILES, whose records are tabular and many: they are folded by the
view in SQL (`projectors.documents.files`), by the one rule that the highest `v` holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import singledispatch
from typing import Any, Final, NamedTuple

import msgspec

from events import ids
from events.codec import Envelope
from events.ids import DocId, FileId, NodeId
from events.moments import Moment
from events.vocabulary import catalog as v
from events.vocabulary import nodes, notices, results
from events.vocabulary.base import Event

Body = dict[str, Any]
Load = Callable[[DocId], Body | None]

# Kind of a catalog subject to the type of its document and the prefix of its id.
DOCUMENT_TYPES: Final[dict[v.Kind, tuple[str, str]]] = {
    "directory": ("virtual_directory", "dir"),
    "label": ("label_assignment", "label_assignment"),
    "label_rule": ("label_rule", "label_rule"),
    "plugin": ("plugin", "plugin"),
    "backend": ("storage_backend", "storage_backend"),
    "replication_rule": ("replication_rule", "replication_rule"),
    "credential": ("credential", "credential"),
    "user": ("user", "user"),
    "setting": ("setting", "setting"),
}


class Change(NamedTuple):
    """A document after an event. `body` None is a tombstone; `by` is what the generation gains."""

    doc: DocId
    type: str
    body: Body | None
    by: int = 1


def fold(envelope: Envelope, load: Load) -> list[Change]:
    """The documents that an event changes. `load` gives a document's present body.

    One event never names a document twice.
    """
    return _fold(envelope.event, envelope, load)


@singledispatch
def _fold(event: Event, envelope: Envelope, load: Load) -> list[Change]:
    # What is left is kept by the log and read by nobody as a document: AUDIT.
    return []


@_fold.register
def _(event: v.CatalogEvent, envelope: Envelope, load: Load) -> list[Change]:
    type_, prefix = DOCUMENT_TYPES[event.kind]
    doc = DocId(f"{prefix}::{event.id}")
    stated = getattr(event, "body", None)
    if stated is None:
        return [Change(doc, type_, None)] if load(doc) is not None else []
    before = load(doc)
    body = {
        **_plain(stated),
        "created_at": before["created_at"] if before else envelope.time,
        "updated_at": envelope.time,
    }
    return [Change(doc, type_, body)]


# The node document has two authors: people (catalog) and the node itself.


@_fold.register
def _(event: v.NodeConfigured, envelope: Envelope, load: Load) -> list[Change]:
    doc = ids.node_doc(NodeId(event.id))
    before = load(doc) or {}
    configured = {key: value for key, value in _plain(event.body).items() if value is not None}
    kept = {key: value for key, value in before.items() if key not in _CONFIGURED}
    return [Change(doc, "node", {**kept, **configured, "configured_at": envelope.time})]


@_fold.register
def _(event: v.NodeRemoved, envelope: Envelope, load: Load) -> list[Change]:
    doc = ids.node_doc(NodeId(event.id))
    before = load(doc)
    if before is None:
        return []
    return [Change(doc, "node", {**before, "disabled": True, "removed_at": envelope.time})]


_CONFIGURED: Final = frozenset(v.NodeBody.__struct_fields__) | {"removed_at"}


def _stated(
    envelope: Envelope, load: Load, doc: DocId, type_: str, v_: int, part: Body
) -> list[Change]:
    """A node's statement laid over the document, unless a newer one is there already."""
    before = load(doc) or {}
    known = int(before.get("statement", 0))
    if v_ <= known:
        return []
    return [Change(doc, type_, {**before, **part, "statement": v_}, by=v_ - known)]


@_fold.register
def _(event: nodes.NodeRegistered, envelope: Envelope, load: Load) -> list[Change]:
    node = NodeId(envelope.address.token("node"))
    part = _plain(event)
    del part["type"], part["v"]
    part |= {
        "node_id": node,
        "default_name": part.pop("friendly_name"),
        "registered_at": envelope.time,
        "status": "online",
        "last_heartbeat": envelope.time,
    }
    return _stated(envelope, load, ids.node_doc(node), "node", event.v, part)


@_fold.register
def _(event: nodes.NodeOnline, envelope: Envelope, load: Load) -> list[Change]:
    node = NodeId(envelope.address.token("node"))
    part = {"node_id": node, "status": "online", "last_heartbeat": envelope.time}
    return _stated(envelope, load, ids.node_doc(node), "node", event.v, part)


@_fold.register
def _(event: nodes.NodeOffline, envelope: Envelope, load: Load) -> list[Change]:
    node = NodeId(envelope.address.token("node"))
    part = {"node_id": node, "status": "offline", "offline_since": envelope.time}
    return _stated(envelope, load, ids.node_doc(node), "node", event.v, part)


@_fold.register
def _(event: nodes.NodeStatus, envelope: Envelope, load: Load) -> list[Change]:
    node = NodeId(envelope.address.token("node"))
    part = _plain(event)
    del part["type"], part["v"]
    part |= {"node_id": node, "updated_at": envelope.time}
    return _stated(envelope, load, ids.agent_status_doc(node), "agent_status", event.v, part)


@_fold.register
def _(event: nodes.UtilizationMeasured, envelope: Envelope, load: Load) -> list[Change]:
    node = NodeId(envelope.address.token("node"))
    part = _plain(event)
    del part["type"]
    part["node_id"] = node
    return [Change(ids.utilization_doc(node, event.taken_at), "utilization_snapshot", part)]


# Results about files


@_fold.register
def _(event: results.AnnotationWritten, envelope: Envelope, load: Load) -> list[Change]:
    node, plugin = envelope.address.tokens
    latest = {each.file_id: each for each in event.annotations}
    return [
        Change(
            ids.annotation_doc(FileId(each.file_id), plugin),
            "annotation",
            {
                "file_id": each.file_id,
                "plugin_name": plugin,
                "node_id": node,
                "data": each.data,
                "file_v": each.file_v,
                "annotated_at": envelope.time,
            },
        )
        for each in latest.values()
    ]


@_fold.register
def _(event: results.AnnotationRemoved, envelope: Envelope, load: Load) -> list[Change]:
    plugin = envelope.address.token("plugin")
    docs = (ids.annotation_doc(FileId(file), plugin) for file in event.file_ids)
    return _tombstones(docs, "annotation", load)


@_fold.register
def _(event: results.ReplicaWritten, envelope: Envelope, load: Load) -> list[Change]:
    node, target = envelope.address.tokens
    latest = {each.file_id: each for each in event.replicas}
    return [
        Change(
            ids.replica_doc(FileId(each.file_id), target),
            "replica",
            {
                **_plain(each),
                "target_name": target,
                "node_id": node,
                "status": event.status,
                "replicated_at": envelope.time,
            },
        )
        for each in latest.values()
    ]


@_fold.register
def _(event: results.ReplicaRemoved, envelope: Envelope, load: Load) -> list[Change]:
    target = envelope.address.token("target")
    docs = (ids.replica_doc(FileId(file), target) for file in event.file_ids)
    return _tombstones(docs, "replica", load)


@_fold.register
def _(event: results.AccessRecorded, envelope: Envelope, load: Load) -> list[Change]:
    changes: dict[DocId, Body] = {}
    for access in event.accesses:
        doc = ids.access_doc(FileId(access.file_id))
        before = changes.get(doc) or load(doc) or {"count": 0, "last_access": ""}
        changes[doc] = {
            "file_id": access.file_id,
            "node_id": envelope.address.token("node"),
            "last_access": max(before["last_access"], access.at),
            "count": before["count"] + access.count,
            "by": access.by,
        }
    return [Change(doc, "access", body) for doc, body in changes.items()]


def _tombstones(docs: Iterable[DocId], type_: str, load: Load) -> list[Change]:
    return [Change(doc, type_, None) for doc in dict.fromkeys(docs) if load(doc) is not None]


# Notices


@_fold.register
def _(event: notices.NoticeRaised, envelope: Envelope, load: Load) -> list[Change]:
    source, condition = envelope.address.tokens
    doc = ids.notification_doc(source, condition)
    before = load(doc)
    going_on = before is not None and before["status"] != "resolved"
    part = _plain(event)
    del part["type"]
    body = {
        "actions": [],
        "related": {},
        **part,
        "source_id": source,
        "condition_key": condition,
        # One that was seen stays seen while it lasts: raising it again must not nag.
        "status": before["status"] if before and going_on else "active",
        "first_seen": before["first_seen"] if before and going_on else envelope.time,
        "last_seen": envelope.time,
        "occurrence_count": (before["occurrence_count"] if before else 0) + 1,
    }
    if before and going_on and "acknowledged_by" in before:
        body |= {key: before[key] for key in ("acknowledged_by", "acknowledged_at")}
    return [Change(doc, "notification", body)]


@_fold.register
def _(event: notices.NoticeResolved, envelope: Envelope, load: Load) -> list[Change]:
    return _settled(envelope, load, {"status": "resolved", "resolved_at": envelope.time})


@_fold.register
def _(event: notices.NoticeAcknowledged, envelope: Envelope, load: Load) -> list[Change]:
    part = {
        "status": "acknowledged",
        "acknowledged_by": event.by,
        "acknowledged_at": envelope.time,
    }
    return _settled(envelope, load, part)


def _settled(envelope: Envelope, load: Load, part: dict[str, str | Moment]) -> list[Change]:
    doc = ids.notification_doc(*envelope.address.tokens)
    before = load(doc)
    if before is None or before["status"] == "resolved":
        return []
    return [Change(doc, "notification", {**before, **part})]


def _plain(record: msgspec.Struct) -> Body:
    """A struct as a JSON object, defaults included where the struct states them."""
    plain: Body = msgspec.to_builtins(record)
    for field in msgspec.structs.fields(type(record)):
        if field.default is not msgspec.NODEFAULT:
            plain.setdefault(field.name, msgspec.to_builtins(field.default))
        elif field.default_factory is not msgspec.NODEFAULT:
            plain.setdefault(field.name, field.default_factory())
    return plain
