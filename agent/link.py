"""The agent's connection to the log: kept up for ever, wherever the server moves to."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

from events.connection import Connection, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from events.ids import NodeId
    from events.machine.places import Places

_logger = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.5


class Link:
    """Owns the connection. `connection` is None until the server was reached once."""

    def __init__(self, places: Places, node: NodeId, url: str | None) -> None:
        self._places = places
        self._node = node
        self._url = url
        self.connection: Connection | None = None
        self._changed = asyncio.Event()
        self.listeners: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        return self.connection is not None and self.connection.connected

    async def run(self) -> None:
        """Connect, and again when the server's address changes; ends by cancellation."""
        try:
            while True:
                url = await self._address()
                attempt = asyncio.create_task(self._connect(url))
                try:
                    while self.connected or await self._address() == url:
                        await asyncio.sleep(_LOOK_EVERY_S)
                        if attempt.done():
                            attempt.result()
                finally:
                    await _stop(attempt)
                    await self._close()
        finally:
            await self._close()

    async def wait(self) -> Connection:
        """The connection, as soon as there is one."""
        while self.connection is None:
            self._changed.clear()
            await self._changed.wait()
        return self.connection

    async def _address(self) -> str:
        """The server's address; waits until the embedded server has written it."""
        if given := self._url or os.environ.get("MOSAICFS_NATS_URL"):
            return given
        file = self._places.nats / "url"
        while True:
            try:
                if text := file.read_text().strip():
                    return text
            except OSError:
                # Not written yet, which is ordinary at the first start.
                pass
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _connect(self, url: str) -> None:
        seed = self._places.keys / "node.nk"
        self.connection = await connect(
            url,
            name=f"agent {self._node}",
            seed=seed if seed.exists() else None,
            inbox=f"_INBOX_{self._node}",
            on_reconnect=self._tell,
        )
        _logger.info("connected to the event log", extra={"url": url})
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        for listener in self.listeners:
            listener()

    async def _close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
