"""What every part of the gateway is given: the contract between the server and its parts.

A part (REST, the CouchDB API, content) is `routes(context) -> list[Route | Mount]`. It reads
through `views`, changes through `commands`, learns of changes through `feed`, and asks `principal`
who is calling. A context needs no server, so a test can make one.

- Atomicity: a query given to `views.read` sees one moment; a command is stored whole or not at all.
- Threads: everything but the query given to `views.read` runs on the event loop.
- Cancellation: a cancelled `commands.submit` may or may not have stored its events.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

from gateway import keyfiles
from gateway.about import About
from gateway.commands import Commands
from gateway.feed import FeedRelay
from gateway.metrics import Metrics
from gateway.people import People
from gateway.views import Views

if TYPE_CHECKING:
    from starlette.requests import Request

    from events.connection import Connection
    from events.machine.places import Places
    from gateway.config import GatewayConfig
    from gateway.people import Principal


@dataclasses.dataclass(frozen=True)
class Context:
    """The gateway's parts, and the way to them."""

    places: Places
    config: GatewayConfig
    log: Connection
    feed: FeedRelay
    views: Views
    commands: Commands
    people: People
    metrics: Metrics
    about: About
    # Set when the gateway is about to end: whoever makes a request wait answers it at once.
    stopping: asyncio.Event
    # This machine's node id, if it has one.
    node: str | None

    async def principal(self, request: Request, role: str | None = None) -> Principal:
        """Who asks, by the bearer token; with the role if one is named.

        Raises Unauthenticated or Forbidden, which the server answers as 401 and 403.
        """
        return await self.people.principal(request, role)

    def close(self) -> None:
        """Close the view and what is kept on disk; the connection is its maker's."""
        self.people.close()
        self.views.close()


def build(places: Places, config: GatewayConfig, log: Connection) -> Context:
    """A context on a connection. `feed.run()` has to run for as long as the context is used, and
    `close` ends it."""
    feed = FeedRelay(places.socket("projector"))
    views = Views(places.documents_db, feed)
    commands = Commands(log, views)
    return Context(
        places=places,
        config=config,
        log=log,
        feed=feed,
        views=views,
        commands=commands,
        people=People(places, config, log, views, commands),
        metrics=Metrics(keyfiles.key(places.keys / "metrics.token")),
        about=About(),
        stopping=asyncio.Event(),
        node=_node(places),
    )


def _node(places: Places) -> str | None:
    try:
        return places.node_id.read_text().strip() or None
    except OSError:
        return None
