"""Keeps the state up to the disk: crawls when it must, looks at changed paths when it can."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

from agent import filesystems
from agent.apply import apply
from agent.crawl import Job, Progress, crawl
from agent.schedule import Jumps, last_due
from agent.scope import Scope
from agent.watch import Watch
from events import clock, paths
from events.errors import Temporary
from events.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.conditions import Conditions
    from agent.config import AgentConfig
    from agent.state import State
    from events.ids import NodeId

_logger = logging.getLogger(__name__)

_TICK_S: Final = 1.0
_DISKS_EVERY_S: Final = 2.0
# How often everything is crawled while live news are not complete.
BLIND_CRAWL_S: Final = 300.0

# Where each watch path is, as (st_dev, st_ino), and what is mounted at or below them.
_Disks = tuple[tuple[tuple[int, int] | None, ...], frozenset[filesystems.Mount]]


class Indexer:
    """The only user of the state's files. One job at a time, each in a thread."""

    def __init__(
        self,
        state: State,
        node: NodeId,
        config: AgentConfig,
        excluded: tuple[str, ...],
        *,
        conditions: Conditions,
        written: Callable[[], None],
    ) -> None:
        self._state = state
        self._node = node
        self._config = config
        self._excluded = excluded
        self._conditions = conditions
        self._written = written
        self._wake = asyncio.Event()
        self._watch = Watch(config.debounce_ms, self._wake.set)
        self._scope = Scope(config.watch_paths, (*config.excluded_paths, *excluded))
        self._unstable: frozenset[int] = frozenset()
        self._disks: _Disks = ((), frozenset())
        self._jumps = Jumps(time.time(), time.monotonic())
        self._waiting: list[asyncio.Future[Progress]] = []
        self._why = "start"
        self._last_tick = self._last_look = self._last_crawl = time.monotonic()
        self._not_before = 0.0
        self._crawled_wall = time.time()
        self.crawling = False
        self.progress = Progress()
        # The last crawl that came to its end.
        self.last: Progress | None = None
        self.last_at: clock.Moment | None = None
        self.files = 0

    # --- asked from outside ---

    def request(self) -> asyncio.Future[Progress]:
        """Ask for a crawl that begins after now; the answer comes when it has ended."""
        future: asyncio.Future[Progress] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._wake.set()
        return future

    @property
    def watched(self) -> int:
        return self._watch.folders

    # --- the loop ---

    async def run(self) -> None:
        """Index for ever; ends by cancellation, or by an error that trying again cannot mend."""
        backoff = Backoff()
        self.files = await asyncio.to_thread(self._state.count)
        try:
            while True:
                try:
                    await self._step()
                    backoff.reset()
                except Temporary as wrong:
                    await asyncio.to_thread(self._conditions.in_trouble, wrong)
                    await asyncio.sleep(backoff.next())
        finally:
            self._watch.close()
            for each in self._waiting:
                each.cancel()

    async def _step(self) -> None:
        """One crawl, one batch of changes, or one wait."""
        why = self._reason()
        if why:
            await self._crawl(why)
        elif due := self._watch.due():
            await self._apply(due)
        else:
            await self._pause()
            if time.monotonic() - self._last_tick >= _TICK_S:
                await self._tick()

    def _reason(self) -> str:
        """Why to crawl now; empty when there is no reason."""
        if self._waiting:
            return "asked for"
        now = time.monotonic()
        if now < self._not_before:
            return ""
        if self._watch.stormy:
            return "a long storm" if now - self._last_crawl > BLIND_CRAWL_S else ""
        return self._why or self._watch.crawl_wanted

    async def _pause(self) -> None:
        wait = self._watch.wait_s()
        try:
            async with asyncio.timeout(_TICK_S if wait is None else min(wait, _TICK_S)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _tick(self) -> None:
        now = self._last_tick = time.monotonic()
        self._watch.tick()
        if self._jumps.jumped(time.time(), now):
            self._why = "the clock jumped"
        # Local time is what a person means by three at night.
        due = last_due(datetime.now().astimezone(), self._config.crawl_at)
        if self._crawled_wall < due.timestamp():
            self._why = "nightly"
        if self._watch.trouble and now - self._last_crawl > BLIND_CRAWL_S:
            self._why = "not all is watched"
        if now - self._last_look > _DISKS_EVERY_S:
            self._last_look = now
            if await asyncio.to_thread(self._look_at_disks) != self._disks:
                self._why = "a disk came or went"

    def _look_at_disks(self) -> _Disks:
        places: list[tuple[int, int] | None] = []
        for root in self._scope.roots:
            try:
                status = os.stat(paths.to_os(root))
                places.append((status.st_dev, status.st_ino))
            except OSError:
                places.append(None)
        return tuple(places), filesystems.below(filesystems.mounts(), self._scope.roots)

    # --- jobs ---

    def _job(self, stop: threading.Event, progress: Progress) -> Job:
        loop = asyncio.get_running_loop()

        def written() -> None:
            loop.call_soon_threadsafe(self._written)

        return Job(
            state=self._state,
            node=self._node,
            scope=self._scope,
            unstable=self._unstable,
            watch=self._watch.folder,
            written=written,
            stop=stop,
            progress=progress,
        )

    async def _run(self, work: Callable[[Job], Progress]) -> Progress:
        """Do a job in a thread; cancelling it waits until the thread has stopped."""
        stop, progress = threading.Event(), Progress()
        self.progress = progress
        job = self._job(stop, progress)
        thread = asyncio.ensure_future(asyncio.to_thread(work, job))
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([thread])
            thread.exception()
            raise

    async def _crawl(self, why: str) -> None:
        waiting, self._waiting = self._waiting, []
        self._why = self._watch.crawl_wanted = ""
        began = self._last_crawl = time.monotonic()
        started = time.time()
        self.crawling = True
        try:
            mounted = await asyncio.to_thread(filesystems.mounts)
            self._unstable = filesystems.unstable(mounted)
            own = filesystems.own_mounts(mounted)
            self._scope = Scope(
                self._config.watch_paths, (*self._config.excluded_paths, *self._excluded, *own)
            )
            self._disks = await asyncio.to_thread(self._look_at_disks)
            self._watch.open(self._scope)
            done = await self._run(crawl)
            self.files = await asyncio.to_thread(self._state.count)
        except BaseException:
            # Those who wait are answered by the next try.
            self._waiting = waiting + self._waiting
            self._why = self._why or why
            raise
        finally:
            self.crawling = False
            self._last_crawl = time.monotonic()
        self._crawled_wall = started
        # Whatever calls for crawls, at least two thirds of the time are left for other work.
        self._not_before = time.monotonic() + 2 * (time.monotonic() - began)
        self._watch.crawled()
        self.last, self.last_at = done, clock.now()
        _logger.info(
            "crawled",
            extra={
                "operation": "crawl",
                "why": why,
                "files": done.seen,
                "duration_ms": done.ms,
                "unreadable": done.unreadable,
                **{key: n for key, n in done.counts._asdict().items() if n},
            },
        )
        for future in waiting:
            if not future.done():
                future.set_result(done)
        await asyncio.to_thread(self._conditions.crawled, done, self._watch)

    async def _apply(self, changed: list[str]) -> None:
        def work(job: Job) -> Progress:
            return apply(job, changed)

        try:
            done = await self._run(work)
        except BaseException:
            # What this batch was about is not known any more.
            self._why = "a batch of changes failed"
            raise
        if done.counts.total:
            self.files = await asyncio.to_thread(self._state.count)
        await asyncio.to_thread(self._conditions.working)
