"""The agent as a process: everything composed, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from typing import TYPE_CHECKING, Final

from agent import config as settings
from agent.answers import Answers
from agent.conditions import Conditions
from agent.drain import Drain
from agent.health import Health
from agent.heartbeat import Heartbeat
from agent.identity import node_id, only_one, set_aside
from agent.indexer import Indexer
from agent.link import Link
from agent.notices import Notices
from agent.restore import restore
from agent.state import State
from agent.storage import Storage
from events import paths
from events.errors import LogRejected, LogUnavailable, Temporary
from events.machine.control import Control
from events.machine.database import DatabaseCorrupt
from events.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.config import AgentConfig
    from events.ids import NodeId
    from events.machine.places import Places

_logger = logging.getLogger(__name__)

# How long a clean stop may take to tell the log.
FAREWELL_S: Final = 2.0


class _Stop(Exception):
    """A signal asked for a clean stop."""


async def run(places: Places, *, ready: Callable[[], None] | None = None) -> None:
    """Be the agent of this machine until SIGTERM, SIGINT or cancellation.

    `ready` is called once the control socket answers. Raises Misconfigured for what a person must
    mend; everything that passes by itself is waited for.
    """
    places.make()
    config = settings.load(places.agent_toml)
    with only_one(places.state / "agent.lock"):
        while True:
            node, known = node_id(places)
            try:
                await _Agent(places, config, node, known=known).run(ready)
                return
            except* DatabaseCorrupt as wrong:
                set_aside(places.agent_db, wrong)


class _Agent:
    """One life of the agent, from opening its state to closing it."""

    def __init__(self, places: Places, config: AgentConfig, node: NodeId, *, known: bool) -> None:
        self._places = places
        self._config = config
        self._node = node
        self._stopping = asyncio.Event()
        self._restoring = False
        self._health = Health()
        self._link = Link(places, node, config.nats_url)
        self._open = contextlib.ExitStack()
        try:
            self._files = self._state(cache_mib=16)
            if not known:
                # Nobody ever heard of this node, so the log knows nothing of its files.
                self._files.set("ready", "1")
            self._drain = Drain(self._state(cache_mib=4), self._link, self._rejected)
            self._notices = Notices(self._state(cache_mib=1), node, self._written)
            self._storage = Storage(config.watch_paths, self._notices, self._health)
            self._indexer = Indexer(
                self._files,
                node,
                config,
                self._own_folders(),
                conditions=Conditions(self._notices, self._health, places.agent_db),
                written=self._drain.wake,
            )
            self._answers = Answers(
                self._state(cache_mib=1),
                node,
                config,
                indexer=self._indexer,
                drain=self._drain,
                link=self._link,
                health=self._health,
            )
            self._heartbeat = Heartbeat(
                self._state(cache_mib=1),
                self._link,
                node,
                config,
                report=self._answers.report,
                storage=self._storage.current,
                written=self._written,
            )
        except BaseException:
            self._open.close()
            raise

    def _state(self, *, cache_mib: int) -> State:
        state = State(self._places.agent_db, cache_mib=cache_mib)
        self._open.callback(state.close)
        return state

    def _own_folders(self) -> tuple[str, ...]:
        """MosaicFS's own folders: each finding would write there and so be the next finding."""
        own = {self._places.state, self._places.run}
        return tuple(paths.to_text(os.path.realpath(each)) for each in own)

    def _written(self) -> None:
        """The outbox has something new; from any thread."""
        self._loop.call_soon_threadsafe(self._drain.wake)

    def _rejected(self, subject: str, reason: str) -> None:
        self._health.failed("publish", f"{subject}: {reason}")
        self._health.tell("outbox", "degraded", "the log refused a message; it is kept aside")

    async def run(self, ready: Callable[[], None] | None) -> None:
        self._loop = asyncio.get_running_loop()
        control = Control(self._places.socket("agent"), dict, self._answers.verbs())
        self._restoring = self._files.get("ready") is None
        with self._open, self._signals():
            try:
                async with asyncio.TaskGroup() as group:
                    # What must go on while the rest is being stopped is above the inner group.
                    carriers = [
                        group.create_task(self._link.run()),
                        group.create_task(self._drain.run()),
                    ]
                    try:
                        await self._work(control, ready)
                    finally:
                        await self._leave()
                        for task in carriers:
                            task.cancel()
            except* _Stop:
                _logger.info("stopped")

    async def _work(self, control: Control, ready: Callable[[], None] | None) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(control.serve(ready))
            group.create_task(self._storage.run())
            group.create_task(self._heartbeats())
            group.create_task(self._index())
            await self._stopping.wait()
            raise _Stop

    async def _heartbeats(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._heartbeat.run()
            except Temporary as wrong:
                # The disk is full or the database busy; the next beat is as good as this one.
                _logger.warning("no heartbeat: %s", wrong)
                await asyncio.sleep(backoff.next())

    async def _index(self) -> None:
        if self._restoring:
            await self._restore()
        await self._indexer.run()

    async def _restore(self) -> None:
        """Wait for the log as long as it takes: the alternative is to invent new identities."""
        backoff = Backoff()
        self._health.tell("crawler", "degraded", "waiting for the log to restore what was known")
        while True:
            try:
                connection = await self._link.wait()
                files = await restore(self._files, connection, self._node)
                break
            except (LogUnavailable, LogRejected, Temporary) as wrong:
                _logger.warning("what was known cannot be restored yet: %s", wrong)
                await asyncio.sleep(backoff.next())
        _logger.info("restored from the log", extra={"files": files})
        self._restoring = False

    async def _leave(self) -> None:
        """Tell the log that the node goes; what is not told within two seconds is taken back."""
        self._answers.leaving = True
        try:
            if self._link.connected:
                async with asyncio.timeout(FAREWELL_S):
                    await self._heartbeat.farewell()
                    await self._drain.emptied()
        except TimeoutError:
            _logger.info("left without telling the log")
        except Temporary as wrong:
            _logger.info("left without telling the log: %s", wrong)
        with contextlib.suppress(Temporary):
            self._heartbeat.retract()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopping.set)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.remove_signal_handler(number)
