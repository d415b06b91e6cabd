"""All processes of one machine: started in order, stopped in reverse."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.supervise.child import Child


class Supervisor:
    """Runs the children until it is asked to stop.

    The order is that of the flow: the log, then who reads it, then who writes to it. So the agent's
    last words still reach the log and the view when everything stops.
    """

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = list(children)
        self.reason = ""
        self._stop = asyncio.Event()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def ready(self) -> bool:
        """Whether every process answers."""
        return all(child.healthy.is_set() for child in self.children)

    def ask_to_stop(self, reason: str) -> None:
        """Stop in order; the second time, at once."""
        if not self._stop.is_set():
            self.reason = reason
            self._stop.set()
        else:
            for child in self.children:
                child.signal(signal.SIGKILL)

    async def run(self) -> None:
        """Returns when every process is gone."""
        async with asyncio.TaskGroup() as group:
            kept: list[asyncio.Task[None]] = []
            try:
                for child in self.children:
                    kept.append(group.create_task(child.keep()))
                    await self._either(child.healthy)
                    if self.stopping:
                        break
                await self._stop.wait()
            finally:
                for child in reversed(self.children):
                    await child.stop()

    async def _either(self, healthy: asyncio.Event) -> None:
        """Wait until the child is healthy or a stop was asked for."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (healthy, self._stop)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
