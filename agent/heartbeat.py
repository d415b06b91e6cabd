"""What the node says of itself: registered, online, status, offline, and how full its disks are.

Only the newest of each counts, so nothing of it is queued while the log is away, and a new one
takes the place of an old one that still waits.
"""

from __future__ import annotations

import asyncio
import platform
import socket
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final, Literal

from events import clock
from events.vocabulary import Event, tag_of
from events.vocabulary.nodes import (
    Filesystem,
    NodeOffline,
    NodeOnline,
    NodeRegistered,
    NodeStatus,
    UtilizationMeasured,
)

if TYPE_CHECKING:
    from agent.config import AgentConfig
    from agent.link import Link
    from agent.state import State
    from events.ids import NodeId

BEAT_S: Final = 30.0
STATUS_EVERY_S: Final = 300.0
MEASURE_EVERY_S: Final = 3600.0
# A status that changes all the time is told at most this often.
_LOOK_EVERY_S: Final = 1.0

# Makes the status for a given `v`.
Report = Callable[[int], NodeStatus]


class Heartbeat:
    """The only writer of this node's node and status documents."""

    def __init__(
        self,
        state: State,
        link: Link,
        node: NodeId,
        config: AgentConfig,
        *,
        report: Report,
        storage: Callable[[], list[Filesystem]],
        written: Callable[[], None],
    ) -> None:
        self._state = state
        self._link = link
        self._node = node
        self._config = config
        self._report = report
        self._storage = storage
        self._written = written
        # Where the last message of each type stands in the outbox, sent or not.
        self._last: dict[str, int] = {}
        self._back = asyncio.Event()

    async def run(self) -> None:
        """Register whenever the log comes (back) into reach, then beat; ends by cancellation."""
        self._link.listeners.append(self._back.set)
        beat = told = measured = float("-inf")
        last: tuple[object, ...] = ()
        while True:
            await self._link.wait()
            now = time.monotonic()
            if not self._link.connected:
                # Not by `_nap`: when the log came and went again, `_back` is set, and waiting for
                # it would not wait at all.
                await asyncio.sleep(_LOOK_EVERY_S)
                continue
            if self._back.is_set() or beat == float("-inf"):
                self._back.clear()
                await self._say(self._registered)
                beat = now
            if now - beat >= BEAT_S:
                await self._say(lambda: NodeOnline(v=self._state.count_up("node")))
                beat = now
            if now - measured >= MEASURE_EVERY_S:
                await self._say(self._measured)
                measured = now
            gist = await asyncio.to_thread(self._gist)
            if gist != last or now - told >= STATUS_EVERY_S:
                await self._say(lambda: self._report(self._state.count_up("status")))
                last, told = gist, now
            await self._nap()

    async def _nap(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._back.wait()
        except TimeoutError:
            return

    def _gist(self) -> tuple[object, ...]:
        """What makes a status worth telling; the mere count of files and messages does not."""
        status = self._report(0)
        return (
            tuple(status.subsystems),
            tuple(status.errors),
            tuple(status.unreadable),
            status.last_crawl_at,
        )

    async def _say(self, make: Callable[[], Event]) -> int:
        return await asyncio.to_thread(self._put, make)

    def _put(self, make: Callable[[], Event]) -> int:
        with self._state.transaction():
            event = make()
            tag = tag_of(event)
            if tag in self._last and event.area == "nodes":
                self._state.outbox.remove([self._last[tag]])
            self._last[tag] = self._state.outbox.add(
                event, self._node, time=clock.now(), actor=f"agent:{self._node}"
            )
        self._written()
        return self._last[tag]

    async def farewell(self) -> None:
        """Queue that the node leaves on purpose."""
        await self._say(lambda: NodeOffline(v=self._state.count_up("node")))

    def retract(self) -> None:
        """Take back what was said and never sent: at the next start it would be wrong."""
        with self._state.transaction():
            self._state.outbox.remove(list(self._last.values()))

    def _registered(self) -> NodeRegistered:
        config = self._config
        return NodeRegistered(
            v=self._state.count_up("node"),
            friendly_name=config.friendly_name or hostname(),
            hostname=hostname(),
            platform=_platform(),
            agent_version=_version(),
            watch_paths=list(config.watch_paths),
            storage=self._storage(),
            role=config.role,
        )

    def _measured(self) -> UtilizationMeasured:
        return UtilizationMeasured(taken_at=clock.now(), filesystems=self._storage())


def hostname() -> str:
    return socket.gethostname()


def _platform() -> Literal["linux", "darwin", "other"]:
    name = platform.system().lower()
    return "linux" if name == "linux" else "darwin" if name == "darwin" else "other"


def _version() -> str:
    try:
        return version("mosaicfs")
    except PackageNotFoundError:
        # Run from a clone, which is not installed.
        return "clone"
