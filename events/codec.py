"""Events to messages and back.

The body is JSON that stands alone (`type` is in it); type, version, time, actor and trace are
headers too, so that a consumer can route without reading bodies. What cannot be decoded raises
`Poison`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from events import subjects
from events.errors import Poison
from events.moments import Moment, unix_ms
from events.upcasters import UPCASTERS, Upcaster
from events.vocabulary import TYPES, Event, tag_of

if TYPE_CHECKING:
    from events.subjects import Address

TYPE: Final = "Mosaic-Type"
VERSION: Final = "Mosaic-Version"
TIME: Final = "Mosaic-Time"
ACTOR: Final = "Mosaic-Actor"
TRACE: Final = "Mosaic-Trace"
MESSAGE_ID: Final = "Nats-Msg-Id"


class Wire(NamedTuple):
    """A message ready to be published."""

    subject: str
    headers: dict[str, str]
    body: bytes


class Envelope(NamedTuple):
    """An event as it was read: what happened, where it stands, when, by whom and why."""

    event: Event
    address: Address
    time: Moment
    id: str
    actor: str
    trace: str


# What `encode` writes; Python takes a good deal more for a number.
_VERSION: Final = re.compile("[1-9][0-9]{0,8}")

_encoder = msgspec.json.Encoder()
_decoders: dict[str, msgspec.json.Decoder[Event]] = {
    tag: msgspec.json.Decoder(kind) for tag, kind in TYPES.items()
}


def encode(event: Event, *where: str, time: Moment, actor: str, id: str, trace: str = "") -> Wire:
    """The message for an event. `where` are the subject tokens that the event does not know.

    | area | where |
    |---|---|
    | files, nodes, access, utilization | node |
    | catalog | nothing |
    | annotations | node, plugin |
    | replicas | node, target |
    | notices | source, condition |
    | audit | area |
    """
    tag = tag_of(event)
    headers = {
        MESSAGE_ID: id,
        TYPE: tag,
        VERSION: str(event.version),
        TIME: time,
        ACTOR: actor,
    }
    if trace:
        headers[TRACE] = trace
    return Wire(_subject(event, tag, where), headers, _encoder.encode(event))


def _subject(event: Event, tag: str, where: tuple[str, ...]) -> str:
    if event.area in ("files", "nodes"):
        return subjects.build(event.area, *where, tag.partition(".")[2])
    if event.area == "catalog":
        return subjects.build("catalog", event.kind, event.id)  # type: ignore[attr-defined]  # CatalogEvent has both
    return subjects.build(event.area, *where)


def decode(
    subject: str,
    headers: dict[str, str] | None,
    body: bytes,
    upcasters: dict[tuple[str, int], Upcaster] = UPCASTERS,
) -> Envelope:
    """The event in a message, lifted to the present version of its type."""
    address = subjects.parse(subject)
    if not headers:
        raise Poison("the message has no headers")
    tag = headers.get(TYPE, "")
    kind = TYPES.get(tag)
    if kind is None:
        raise Poison(f"no event type {tag!r}")
    if kind.area != address.area:
        raise Poison(f"{tag} does not belong on {subject}")
    time, id = headers.get(TIME, ""), headers.get(MESSAGE_ID, "")
    try:
        unix_ms(time)
    except ValueError:
        raise Poison(f"not a time: {time!r}") from None
    if not id:
        raise Poison("the message has no id")
    event = _body(tag, kind, headers.get(VERSION, ""), body, upcasters)
    _agrees(event, tag, address)
    return Envelope(
        event, address, Moment(time), id, headers.get(ACTOR, ""), headers.get(TRACE, "")
    )


def _body(
    tag: str,
    kind: type[Event],
    version_text: str,
    body: bytes,
    upcasters: dict[tuple[str, int], Upcaster],
) -> Event:
    if not _VERSION.fullmatch(version_text):
        raise Poison(f"not a version: {version_text!r}")
    version = int(version_text)
    if version > kind.version:
        raise Poison(
            f"{tag} has version {version}, this program knows up to {kind.version}: "
            "upgrade MosaicFS, then run `mosaicfs views rebuild`"
        )
    try:
        if version == kind.version:
            return _decoders[tag].decode(body)
        raw: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        for step in range(version, kind.version):
            lift = upcasters.get((tag, step))
            if lift is None:
                raise Poison(f"nothing lifts {tag} from version {step}")
            raw = lift(raw)
        return msgspec.convert(raw, kind)
    # A lift takes the body as it should be, so it may stumble over one that is not in any way.
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as wrong:
        raise Poison(f"{tag}: {type(wrong).__name__}: {wrong}") from None


def _agrees(event: Event, tag: str, address: Address) -> None:
    """A writer has rights on subjects only, so the body must not speak for another subject."""
    if address.area in ("files", "nodes"):
        if address.token("event") != tag.partition(".")[2]:
            raise Poison(f"{tag} does not belong on this subject")
    elif address.area == "catalog" and address.tokens != (event.kind, event.id):  # type: ignore[attr-defined]  # CatalogEvent has both
        raise Poison("the event speaks of another document than its subject")
