"""The gateway itself: what it is, how it is, and its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway import health as parts_of
from gateway import metrics
from gateway.health import Part, Word, worst
from gateway.routing import Call, Text, get

if TYPE_CHECKING:
    from gateway.catalogue import Catalogue


class Health(msgspec.Struct, frozen=True):
    """`failed` comes with status 503. Details are told to those who are logged in."""

    state: Word
    parts: dict[str, Part]


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """What this gateway is, and how far its view is. `streams` are the sequences in the view,
    `epoch` names the present build of it."""

    version: str
    node: str | None
    started_at: str
    uptime_s: float
    files: int
    deleted_files: int
    documents: int
    dead_letters: int
    streams: dict[str, int]
    sequence: str
    epoch: str


@get("/health", tag="system", open=True, problems=(401,))
async def health(call: Call) -> Health:
    """Whether the gateway can do its work, part by part."""
    parts = await parts_of.parts(call.context)
    if "authorization" in call.request.headers:
        await call.context.principal(call.request)
    else:
        parts = {name: Part(part.state) for name, part in parts.items()}
    state = worst(parts.values())
    call.status = 503 if state == "failed" else 200
    call.headers["cache-control"] = "no-store"
    return Health(state, parts)


@get("/api/system/info", tag="system")
async def info(call: Call) -> Info:
    """What this gateway is, and what its view holds."""
    context = call.context

    def look(view: Catalogue) -> tuple[dict[str, int], dict[str, int], str, str]:
        return view.counts(), view.checkpoints(), view.sequence(), view.epoch()

    counts, streams, sequence, epoch = await context.views.read(look)
    return Info(
        version=context.about.version,
        node=context.node,
        started_at=context.about.started_at,
        uptime_s=round(context.about.uptime_s, 1),
        streams=streams,
        sequence=sequence,
        epoch=epoch,
        files=counts["files"],
        deleted_files=counts["deleted_files"],
        documents=counts["documents"],
        dead_letters=counts["dead_letters"],
    )


@get("/metrics", tag="system", open=True, problems=(401,))
async def prometheus(call: Call) -> Text:
    """Figures for Prometheus, with a person's token or the one in `keys/metrics.token`."""
    given = call.request.headers.get("authorization", "")
    if not call.context.metrics.allows(given):
        await call.context.principal(call.request)
    call.headers["cache-control"] = "no-store"
    content = await call.context.metrics.render(call.context)
    return Text(content, metrics.MEDIA_TYPE)
