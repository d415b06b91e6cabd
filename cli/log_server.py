"""The log's server as a verb finds it: at once, or with a clear no."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from events.connection import Connection, connect, seed_of, server_url
from events.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from events.machine.places import Places


@contextlib.asynccontextmanager
async def log_server(places: Places, limit: float = 3.0) -> AsyncIterator[Connection]:
    """A connection with the control plane's rights; raises LogUnavailable after `limit` seconds."""
    where = server_url(places)
    try:
        async with asyncio.timeout(limit):
            connection = await connect(where, name="mosaicfs cli", seed=seed_of(places, "control"))
    except TimeoutError:
        raise LogUnavailable(
            f"the event log does not answer at {where}; `mosaicfs status` shows what runs"
        ) from None
    try:
        yield connection
    finally:
        await connection.close()
