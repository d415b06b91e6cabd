"""The projector process: keeps the document view of one machine, whatever happens to it.

A view that is missing starts from the snapshot in the log's server, or from the log's beginning.
One that is damaged, of another version, or of another log is rebuilt beside the old one, which
readers keep until the new one has caught up.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
from typing import TYPE_CHECKING, Any, Final

from events import append, connection, streams
from events.clock import now
from events.codec import encode
from events.errors import LogRejected, LogUnavailable, MosaicError, Temporary
from events.ids import new_uuid, notification_doc
from events.machine.control import Answer, Control
from events.machine.database import DatabaseCorrupt
from events.machine.process import resident_bytes
from events.retry import Backoff
from events.vocabulary.notices import NoticeRaised, NoticeResolved
from projectors import snapshots
from projectors import verify as verification
from projectors.documents.reader import Reader
from projectors.documents.view import DocumentsView
from projectors.feed import Feed, Line
from projectors.loop import Projector, check
from projectors.shelf import Shelf
from projectors.thread import ended, to_the_end
from projectors.view import Applied, Checkpoint, StaleView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from events.connection import Connection
    from events.machine.places import Places

_logger = logging.getLogger(__name__)

CONSUMER: Final = "documents"
_SOURCE: Final = "projector"
# A snapshot is taken when this many changes came since the last one, looked at this often.
_SNAPSHOT_CHANGES: Final = 50_000
_TEND_S: Final = 300.0
_TEND_AGAIN_S: Final = 2.0
_LOOK_S: Final = 15.0
_PROGRESS_S: Final = 0.2


async def run(places: Places) -> None:
    """Project until cancelled."""
    service = Service(places)
    with service.shelf.held():
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(service.control.serve())
            try:
                await service.keep()
            finally:
                serving.cancel()


class Service:
    """One projector process. Whoever runs it holds its shelf."""

    def __init__(self, places: Places, rebuild: str | None = None) -> None:
        self._places = places
        self.shelf = Shelf(places.documents_db)
        self._feed = Feed()
        self._connection: Connection | None = None
        self._projector: Projector | None = None
        self._view: DocumentsView | None = None
        self._state = "starting"
        self._detail = ""
        # Why the next build begins with an empty view and the log's first message, if it does.
        self._rebuild = rebuild
        # How many rebuilds this process has done.
        self._rebuilt = 0
        # The present build should end; with it a reason to believe that its file is damaged.
        self._wanted = asyncio.Event()
        self._damage: str | None = None
        # The file of the present build, from before it is opened.
        self._built: Path | None = None
        self._reconnected = asyncio.Event()
        self._buried = asyncio.Event()
        self._snapshot_n = 0
        self._snapshotting = asyncio.Lock()
        self._counted: dict[str, int] = {}
        self._drift: list[str] = []
        self.control = Control(
            places.socket("projector"),
            self.status,
            {
                "follow": self._feed.follow,
                "rebuild": self._on_rebuild,
                "snapshot": self._on_snapshot,
                "verify": self._on_verify,
            },
        )

    async def keep(self) -> None:
        """Keep a view current; each turn of the loop is one build of it."""
        self._state = "waiting for the event log"
        self._connection = await connection.connect(
            connection.server_url(self._places),
            name="projector",
            seed=connection.seed_of(self._places, "control"),
            on_reconnect=self._reconnected.set,
        )
        try:
            await self._keep(self._connection)
        finally:
            await self._connection.close()

    async def _keep(self, log: Connection) -> None:
        backoff = Backoff()
        while True:
            wait = 0.0
            # A task of its own: a task group that fails may forget that its parent was cancelled.
            building = asyncio.create_task(self._build(log, backoff))
            try:
                await asyncio.wait((building,))
            except asyncio.CancelledError:
                building.cancel()
                await ended(building)
                raise
            try:
                building.result()
            except* StaleView as wrong:
                self._rebuild = _first(wrong)
            except* DatabaseCorrupt as wrong:
                self._rebuild = _first(wrong)
                if self._built is not None and self._built.exists():
                    self.shelf.set_aside(self._built)
            # The disk of the view may be full, the log may be away; both can come to an end.
            except* (Temporary, LogRejected, OSError) as wrong:
                self._state, self._detail = "degraded", _first(wrong)
                wait = backoff.next()
                _logger.warning("next try in %.0f s: %s", wait, self._detail)
            await asyncio.sleep(wait)

    async def _build(self, log: Connection, backoff: Backoff) -> None:
        """Open or make one build and keep it until another one is wanted."""
        # What is asked for from here on is meant for the build after this one.
        why, self._damage = self._rebuild, None
        self._wanted.clear()
        heads = await self._heads(log)
        view, hidden = await self._open(log, heads, why)
        try:
            await self._project(log, view, heads, backoff, why, hidden=hidden)
        finally:
            self._view = None
            view.close()

    async def _heads(self, log: Connection) -> dict[str, dict[str, Any]]:
        self._drift = [str(each) for each in await streams.ensure(log)]
        return await streams.heads(log)

    async def _open(
        self, log: Connection, heads: dict[str, dict[str, Any]], why: str | None
    ) -> tuple[DocumentsView, bool]:
        """The view to keep, and whether it has to catch up before readers may have it."""
        current = self.shelf.current()
        self.shelf.tidy()
        if why is None and current is not None:
            self._built = current
            view = await to_the_end(DocumentsView, current)
            try:
                check(view.checkpoints(), heads)
            except StaleView:
                view.close()
                raise
            return view, False
        build = self._built = self.shelf.fresh()
        if why is not None:
            _logger.warning("the view is rebuilt from the log: %s", why)
        elif await snapshots.restore(log, build, heads):
            _logger.info("started from the snapshot")
        view = await to_the_end(DocumentsView, build)
        if current is None:
            # Nobody reads an older one, so they may as well watch this one grow.
            self.shelf.put_forward(build)
        return view, current is not None

    async def _project(
        self,
        log: Connection,
        view: DocumentsView,
        heads: dict[str, dict[str, Any]],
        backoff: Backoff,
        why: str | None,
        *,
        hidden: bool,
    ) -> None:
        """Keep one build until another one is wanted."""
        self._view = view
        self._snapshot_n = view.n
        self._reconnected.clear()

        def tell(applied: Applied, checkpoints: Mapping[str, Checkpoint]) -> None:
            if applied.dead:
                self._buried.set()
            if not hidden:
                at = {name: checkpoint.sequence for name, checkpoint in checkpoints.items()}
                self._feed.tell(Line(applied.n, at, applied.docs, view.epoch))

        consumer = f"{CONSUMER}-{_machine(self._places)}"
        projector = self._projector = Projector(log, view, consumer, tell)
        self._state, self._detail = ("rebuilding", why) if why else ("catching up", "")
        tell(Applied(view.n, None, 0), view.checkpoints())
        async with asyncio.TaskGroup() as tasks:
            children = [
                tasks.create_task(projector.run(heads)),
                tasks.create_task(self._watch_log(log, view)),
            ]
            caught = tasks.create_task(projector.caught_up.wait())
            wanted = tasks.create_task(self._wanted.wait())
            await asyncio.wait((caught, wanted), return_when=asyncio.FIRST_COMPLETED)
            if not wanted.done():
                if hidden:
                    self.shelf.put_forward(view.path)
                    hidden = False
                    tell(Applied(view.n, None, 0), view.checkpoints())
                self._rebuilt += why is not None
                self._state, self._detail, self._rebuild = "live", "", None
                backoff.reset()
                _logger.info("the view is live", extra=view_counts(self.counts()))
                children.append(tasks.create_task(self._tend(log)))
                await wanted
            for task in (*children, caught):
                task.cancel()
        if self._damage is not None:
            raise DatabaseCorrupt(self._damage)

    def _want_rebuild(self, why: str) -> None:
        self._rebuild = why
        self._wanted.set()

    async def _watch_log(self, log: Connection, view: DocumentsView) -> None:
        """Now and then, and after each reconnect: is it still the same log, and our file?"""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._reconnected.wait()
            again = self._reconnected.is_set()
            self._reconnected.clear()
            try:
                # The checkpoints first: they may have moved on when the streams have answered.
                checkpoints = view.checkpoints()
                check(checkpoints, await (self._heads(log) if again else streams.heads(log)))
            except StaleView as wrong:
                self._want_rebuild(str(wrong))
            except (LogUnavailable, LogRejected) as wrong:
                _logger.info("cannot look at the streams yet: %s", wrong)
            if self.shelf.current() is None or not view.path.exists():
                _logger.warning("the view's file is gone; it is made anew")
                self._wanted.set()

    async def _tend(self, log: Connection) -> None:
        """The chores of a live view: notices about dead letters, and snapshots."""
        while True:
            self._buried.clear()
            try:
                await self._report_dead_letters(log)
                if self._view and self._view.n - self._snapshot_n >= _SNAPSHOT_CHANGES:
                    await self._take_snapshot(log)
            except MosaicError as wrong:
                _logger.warning("a chore of the projector is put off: %s", wrong)
            # A flood of dead letters makes a notice every few seconds, not one for each.
            await asyncio.sleep(_TEND_AGAIN_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TEND_S):
                    await self._buried.wait()

    async def _take_snapshot(self, log: Connection) -> dict[str, Any]:
        async with self._snapshotting:
            if self._view is None:
                raise LogUnavailable("the projector is starting; try again in a moment")
            n = self._view.n
            taken = await snapshots.take(log, self._view.path)
            self._snapshot_n = n
            return taken

    async def _report_dead_letters(self, log: Connection) -> None:
        """One notice that follows the number of dead letters, not one for each."""
        with Reader(self._places.documents_db) as reader:
            count = reader.counts()["dead_letters"]
            latest = reader.dead_letters(1)
            notice = reader.document(notification_doc(_SOURCE, "dead_letters")) or {}
        told = str(notice.get("related", {}).get("count", "0"))
        holds = notice.get("status", "resolved") != "resolved"
        event: NoticeRaised | NoticeResolved
        if count and (str(count) != told or not holds):
            event = NoticeRaised(
                severity="warning",
                title="Events that could not be understood",
                message=f"{count} events were put aside, the last one because: "
                f"{latest[0].reason}. `mosaicfs views status` lists them.",
                related={"count": str(count)},
            )
        elif not count and holds:
            event = NoticeResolved()
        else:
            return
        message = encode(event, _SOURCE, "dead_letters", time=now(), actor=_SOURCE, id=new_uuid())
        await append.append(log, message)

    # What the control socket tells and does

    def status(self) -> Answer:
        """How the projector is doing, for `mosaicfs status` and the table of `mosaicfs up`."""
        projector, log = self._projector, self._connection
        trouble = projector.trouble if projector else None
        state = "degraded" if trouble else self._state
        if log is not None and not log.connected:
            state, trouble = "degraded", "the event log is away"
        return {
            "state": state,
            "detail": trouble or self._detail,
            "streams": projector.progress() if projector else {},
            **self.counts(),
            "drift": self._drift,
            "rss": resident_bytes(),
        }

    def counts(self) -> dict[str, int]:
        """Row counts of what readers see; the last ones known when it cannot be read."""
        try:
            with Reader(self._places.documents_db) as reader:
                self._counted = reader.counts()
        except DatabaseCorrupt as wrong:
            if self._view is not None and self.shelf.current() == self._view.path:
                self._damage = str(wrong)
                self._wanted.set()
        except MosaicError as wrong:
            _logger.debug("nothing to count: %s", wrong)
        return self._counted

    async def _on_rebuild(self, question: dict[str, Any]) -> AsyncIterator[Answer]:
        return self._rebuilding()

    async def _rebuilding(self) -> AsyncIterator[dict[str, Any]]:
        """Ask for a rebuild, or join the one that goes on, and tell how far it is."""
        done = self._rebuilt
        if self._rebuild is None:
            self._want_rebuild("asked for")
        while self._rebuilt == done:
            await asyncio.sleep(_PROGRESS_S)
            projector = self._projector
            if self._state != "rebuilding" or projector is None:
                yield {"step": "start"}
                continue
            progress = projector.progress().values()
            at = sum(each["applied"] for each in progress)
            of = at + sum(each["pending"] for each in progress)
            yield {"step": "replay", "at": at, "of": of}
        yield {"step": "done", **self.counts()}

    async def _on_snapshot(self, question: dict[str, Any]) -> Answer:
        return {"step": "done", **await self._take_snapshot(self._log())}

    async def _on_verify(self, question: dict[str, Any]) -> AsyncIterator[Answer]:
        log = self._log()
        if self._view is None:
            raise LogUnavailable("the projector is starting; try again in a moment")
        return verification.verify(log, self._view.path)

    def _log(self) -> Connection:
        if self._connection is None:
            raise LogUnavailable("the projector has not reached the event log yet")
        return self._connection


def view_counts(counts: dict[str, int]) -> dict[str, object]:
    """Counts as fields of a log line."""
    return {key: counts[key] for key in ("files", "documents") if key in counts}


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    """The text of the first error in a group."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return str(found)


def _machine(places: Places) -> str:
    """A word for this machine's consumer that no other machine's projector has."""
    try:
        if name := places.node_id.read_text().strip():
            return name
    except OSError:
        _logger.debug("no node id; a machine without an agent")
    where = f"{socket.gethostname()}:{places.state}"
    return f"view-{hashlib.sha256(where.encode(errors='surrogateescape')).hexdigest()[:12]}"


async def _connected(places: Places) -> Connection:
    return await connection.connect(
        connection.server_url(places),
        name="views",
        seed=connection.seed_of(places, "control"),
    )


# The same works without a running projector, for `mosaicfs views …`


async def rebuild(places: Places) -> AsyncIterator[dict[str, Any]]:
    """Rebuild the view in this process; only while no projector runs."""
    service = Service(places, rebuild="asked for")
    with service.shelf.held():
        task = asyncio.create_task(service.keep())
        try:
            async for line in service._rebuilding():
                if task.done():
                    await task
                yield line
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def verify(places: Places) -> AsyncIterator[dict[str, Any]]:
    """Verify the view in this process."""
    current = Shelf(places.documents_db).current()
    log = await _connected(places)
    try:
        if current is None:
            raise StaleView("there is no view yet: start `mosaicfs up`")
        async for line in verification.verify(log, current):
            yield line
    finally:
        await log.close()


async def snapshot(places: Places) -> AsyncIterator[dict[str, Any]]:
    """Store a snapshot of the view from this process."""
    current = Shelf(places.documents_db).current()
    log = await _connected(places)
    try:
        if current is None:
            raise StaleView("there is no view yet: start `mosaicfs up`")
        yield {"step": "done", **await snapshots.take(log, current)}
    finally:
        await log.close()
