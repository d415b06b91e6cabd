"""The log's server as a verb finds it: at once, or with a clear no."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

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
            if await _refused(where):
                raise TimeoutError
            connection = await connect(where, name="mosaicfs cli", seed=seed_of(places, "control"))
    except TimeoutError:
        raise LogUnavailable(
            f"the event log does not answer at {where}; `mosaicfs status` shows what runs"
        ) from None
    try:
        yield connection
    finally:
        await connection.close()


async def _refused(where: str) -> bool:
    """Whether nobody listens there, which the client would wait for in vain.

    Anything else is left to it: several servers, a name that is looked up for long.
    """
    parts = urlsplit(where if "//" in where else f"nats://{where}")
    if "," in where or parts.hostname is None:
        return False
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port or 4222)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    writer.close()
    return False
