"""What every event type shares."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from events import moments

# A moment in a body, in the one form whose text order is time order.
Time = Annotated[str, msgspec.Meta(pattern=moments.PATTERN)]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """One thing that happened. Subclasses set an explicit tag, never a class path.

    `version` counts the schema of the type; `events.upcasters` lifts older bodies. `area` is the
    second word of the subject, which decides the stream.
    """

    version: ClassVar[int] = 1
    area: ClassVar[str]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a batched event."""


def tag_of(event: type[Event] | Event) -> str:
    """The type's tag, as in `file.indexed`."""
    return str(event.__struct_config__.tag)
