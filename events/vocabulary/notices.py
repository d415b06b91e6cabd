"""NOTICES and AUDIT: what a person should know, and what they must be able to look up."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from events.vocabulary.base import Event, Record

Severity = Literal["info", "warning", "error"]


class Action(Record, frozen=True, kw_only=True):
    """What mends the condition: a label for the button and the API call behind it."""

    label: str
    endpoint: str


class NoticeRaised(Event, frozen=True, kw_only=True, tag="notice.raised"):
    """A condition holds. Raising it again counts the occurrence, it does not repeat the notice."""

    area: ClassVar[str] = "notices"
    severity: Severity
    title: str
    message: str
    actions: list[Action] = []
    related: dict[str, str] = {}


class NoticeResolved(Event, frozen=True, kw_only=True, tag="notice.resolved"):
    """The condition no longer holds."""

    area: ClassVar[str] = "notices"


class NoticeAcknowledged(Event, frozen=True, kw_only=True, tag="notice.acknowledged"):
    """A person has seen it."""

    area: ClassVar[str] = "notices"
    by: str


class AuditRecorded(Event, frozen=True, kw_only=True, tag="audit.recorded"):
    """Who did what, and how it ended. Never holds a secret."""

    area: ClassVar[str] = "audit"
    action: str
    outcome: Literal["ok", "refused", "failed"]
    subject: str = ""
    address: str | None = None
    detail: dict[str, Any] = {}
