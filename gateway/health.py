"""How the gateway's parts are, in one word and one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from events.errors import MosaicError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.context import Context

Word = Literal["ok", "degraded", "failed", "off"]


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """`detail` is told to those who are logged in."""

    state: Word
    detail: str | None = None


async def parts(context: Context) -> dict[str, Part]:
    """The log is needed to change anything, the view to answer anything, the feed to answer with
    what is new."""
    log, feed = context.log, context.feed
    return {
        "log": Part("ok", "connected")
        if log.connected
        else Part("degraded", "the event log is away: nothing can be changed"),
        "view": await _view(context),
        "feed": Part("ok", f"at change {feed.n}")
        if feed.connected
        else Part("degraded", "the projector is away: answers may be old"),
    }


async def _view(context: Context) -> Part:
    try:
        epoch = await context.views.read(lambda view: view.epoch())
    except MosaicError as wrong:
        return Part("failed", str(wrong))
    return Part("ok", f"build {epoch}")


def worst(parts: Iterable[Part]) -> Word:
    """The state of the whole."""
    states = {part.state for part in parts}
    for word in ("failed", "degraded"):
        if word in states:
            return word
    return "ok"
