"""Notifications: what people should know, and that they have seen it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from events.ids import DocId
from events.vocabulary.notices import Action, NoticeAcknowledged, Severity
from gateway.api.shapes import (
    Cursor,
    Limit,
    Written,
    decode_cursor,
    document,
    encode_cursor,
    page_size,
    plain,
    written,
)
from gateway.routing import Call, get, post

Status = Literal["active", "acknowledged", "resolved"]
_PREFIX = "notification::"
_STREAM = "NOTICES"


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A condition, or one that was. `id` is source and condition, joined by `::`."""

    id: str
    rev: str
    source_id: str
    condition_key: str
    severity: Severity
    status: Status
    title: str
    message: str
    first_seen: str
    last_seen: str
    occurrence_count: int
    actions: list[Action] = []
    related: dict[str, str] = {}
    acknowledged_by: str | None = None
    acknowledged_at: str | None = None
    resolved_at: str | None = None


class NotificationsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    status: (
        Annotated[Status, msgspec.Meta(description="If not given, all that are not resolved.")]
        | None
    ) = None
    severity: Severity | None = None


class Notifications(msgspec.Struct, frozen=True):
    notifications: list[Notification]


class HistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cursor: Cursor | None = None
    limit: Limit = 100


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    notifications: list[Notification]
    next: str | None = None


class AllQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    severity: (
        Annotated[Severity, msgspec.Meta(description="Only those of this severity.")] | None
    ) = None


class Acknowledged(msgspec.Struct, frozen=True):
    """Where the last event stands, and how many were acknowledged."""

    stream: str
    sequence: int
    acknowledged: int


def _notification(body: dict[str, Any]) -> Notification:
    id = str(body["_id"]).removeprefix(_PREFIX)
    return msgspec.convert({**plain(body), "id": id}, Notification)


async def _all(call: Call) -> list[Notification]:
    bodies = await call.context.views.read(lambda view: view.documents("notification"))
    found = [_notification(body) for body in bodies]
    return sorted(found, key=lambda each: (each.last_seen, each.id), reverse=True)


@get("/api/notifications", tag="notifications", problems=(400,))
async def notifications(call: Call, query: NotificationsQuery) -> Notifications:
    """Notifications that hold, newest first."""
    return Notifications(
        [
            each
            for each in await _all(call)
            if (each.status == query.status if query.status else each.status != "resolved")
            and query.severity in (None, each.severity)
        ]
    )


@get("/api/notifications/history", tag="notifications", problems=(400,))
async def notification_history(call: Call, query: HistoryQuery) -> History:
    """Every notification, resolved ones too, newest first, page by page."""
    limit = page_size(call, query.limit)
    found = await _all(call)
    if query.cursor is not None:
        seen, id = decode_cursor(query.cursor, tuple[str, str])
        found = [each for each in found if (each.last_seen, each.id) < (seen, id)]
    page = found[:limit]
    more = encode_cursor((page[-1].last_seen, page[-1].id)) if len(found) > limit else None
    return History(page, more)


@post("/api/notifications/acknowledge-all", tag="notifications")
async def acknowledge_all(call: Call, query: AllQuery) -> Acknowledged:
    """Say that every active notification was seen."""
    seen = [
        each
        for each in await _all(call)
        if each.status == "active" and query.severity in (None, each.severity)
    ]
    event = NoticeAcknowledged(by=call.principal.name)
    committed = await call.context.commands.tell(
        [(event, (each.source_id, each.condition_key)) for each in seen],
        _STREAM,
        call.principal.name,
    )
    return Acknowledged(committed.stream, committed.sequence, len(seen))


@post("/api/notifications/{id:path}/acknowledge", tag="notifications")
async def acknowledge(call: Call, id: str) -> Written:
    """Say that a notification was seen.

    One that was acknowledged or resolved already stays as it is.
    """
    doc = DocId(_PREFIX + id)
    present = _notification(await document(call, doc, "such notification"))
    event = NoticeAcknowledged(by=call.principal.name)
    where = (present.source_id, present.condition_key)
    wanted = [(event, where)] if present.status == "active" else []
    committed = await call.context.commands.tell(wanted, _STREAM, call.principal.name)
    return await written(call, committed, doc)
