"""The projector process: keeps the document view of one machine, whatever happens to it.

A view that is missing starts from the snapshot in the log's server, or from the log's beginning.
One that is damaged, of another version, or of another log is rebuilt beside the old one, which
readers keep until the new one has caught up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from events import append, connection, streams
from events.clock import now
from events.codec import encode
from events.errors import LogRejected, LogUnavailable, MosaicError
from events.ids import new_uuid, notification_doc
from events.machine.control import Answer, Control
from events.machine.database import DatabaseCorrupt
from events.machine.process import resident_bytes
from events.retry import Backoff
from events.vocabulary.notices import NoticeRaised, NoticeResolved
from projectors import snapshots
from projectors import verify as verification
from projectors.documents.reader import Reader
from projectors.documents.view import DocumentsView, discard
from projectors.feed import Feed, Line
from projectors.loop import Projector, check
from projectors.shelf import Shelf
from projectors.view import Applied, Checkpoint, StaleView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from events.connection import Connection
    from events.machine.places import Places

_logger = logging.getLogger(__name__)

CONSUMER: Final = "documents"
_SOURCE: Final = "projector"
# A snapshot is taken when this many changes came since the last one, looked at this often.
_SNAPSHOT_CHANGES: Final = 50_000
_SNAPSHOT_LOOK_S: Final = 300.0
_COUNT_EVERY_S: Final = 2.0


async def run(places: Places) -> None:
    """Project until cancelled."""
    service = Service(places)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(service.control.serve())
        try:
            await service.keep()
        finally:
            serving.cancel()


class _Restart(Exception):
    """The present build is no good; `why` is for people."""


class Service:
    """One projector process."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._shelf = Shelf(places.documents_db)
        self._feed = Feed()
        self._connection: Connection | None = None
        self._projector: Projector | None = None
        self._view: DocumentsView | None = None
        self._state = "starting"
        self._detail = ""
        self._wanted = asyncio.Event()
        self._reconnected = asyncio.Event()
        self._snapshot_n = 0
        self._snapshotting = asyncio.Lock()
        self._counted: tuple[float, dict[str, int]] = (0.0, {})
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
        rebuild: str | None = None
        while True:
            try:
                heads = await self._heads(log)
                view, behind = await self._open(log, heads, rebuild)
                try:
                    rebuild = await self._project(log, view, heads, put_forward=behind)
                finally:
                    view.close()
                    self._view = None
                backoff.reset()
            except* StaleView as wrong:
                rebuild = _first(wrong)
            except* DatabaseCorrupt as wrong:
                rebuild = _first(wrong)
                if (damaged := self._shelf.current()) is not None:
                    self._shelf.set_aside(damaged)
            except* (LogUnavailable, LogRejected) as wrong:
                self._state, self._detail = "degraded", _first(wrong)
                delay = backoff.next()
                _logger.warning("next try in %.0f s: %s", delay, self._detail)
                await asyncio.sleep(delay)

    async def _heads(self, log: Connection) -> dict[str, dict[str, Any]]:
        self._drift = [str(each) for each in await streams.ensure(log)]
        return await streams.heads(log)

    async def _open(
        self, log: Connection, heads: dict[str, dict[str, Any]], rebuild: str | None
    ) -> tuple[DocumentsView, bool]:
        """The view to keep, and whether it has to catch up before readers may have it."""
        current = self._shelf.current()
        if rebuild is None and current is not None:
            view = DocumentsView(current)
            try:
                check(view.checkpoints(), heads)
            except StaleView:
                view.close()
                raise
            self._shelf.tidy()
            return view, False
        build = self._shelf.fresh()
        if rebuild is None and await snapshots.restore(log, build, heads):
            _logger.info("started from the snapshot")
        elif rebuild is not None:
            _logger.warning("the view is rebuilt from the log: %s", rebuild)
        view = DocumentsView(build)
        if current is None:
            # Nobody reads an older one, so they may as well watch this one grow.
            self._shelf.put_forward(build)
        return view, current is not None

    async def _project(
        self,
        log: Connection,
        view: DocumentsView,
        heads: dict[str, dict[str, Any]],
        *,
        put_forward: bool,
    ) -> str:
        """Keep one build until a rebuild is wanted; returns why."""
        self._view = view
        self._snapshot_n = view.n
        self._wanted.clear()
        self._reconnected.clear()
        epoch = view.epoch
        hidden = put_forward

        def tell(applied: Applied, checkpoints: Mapping[str, Checkpoint]) -> None:
            if not hidden:
                at = {name: checkpoint.sequence for name, checkpoint in checkpoints.items()}
                self._feed.tell(Line(applied.n, at, applied.docs, epoch))

        consumer = f"{CONSUMER}-{_machine(self._places)}"
        projector = self._projector = Projector(log, view, consumer, tell)
        self._state, self._detail = ("rebuilding" if hidden else "catching up"), ""
        async with asyncio.TaskGroup() as tasks:
            projecting = tasks.create_task(projector.run(heads))
            tell(Applied(view.n, None, 0), view.checkpoints())
            watching = tasks.create_task(self._watch_log(log, view))
            caught = tasks.create_task(projector.caught_up.wait())
            wanted = tasks.create_task(self._wanted.wait())
            await asyncio.wait({caught, wanted}, return_when=asyncio.FIRST_COMPLETED)
            if caught.done():
                if hidden:
                    self._shelf.put_forward(view.path)
                hidden = False
                tell(Applied(view.n, None, 0), view.checkpoints())
                self._state = "live"
                _logger.info("the view is live", extra=view_counts(self.counts()))
                tending = tasks.create_task(self._tend(log))
                await wanted
                tending.cancel()
            for task in (projecting, watching, caught):
                task.cancel()
        return self._detail or "asked for"

    async def _watch_log(self, log: Connection, view: DocumentsView) -> None:
        """After each reconnect: is it still the same log?"""
        while True:
            await self._reconnected.wait()
            self._reconnected.clear()
            try:
                check(view.checkpoints(), await self._heads(log))
            except StaleView as wrong:
                self._detail = str(wrong)
                self._wanted.set()
            except (LogUnavailable, LogRejected) as wrong:
                _logger.info("cannot look at the streams yet: %s", wrong)
                await asyncio.sleep(1)
                self._reconnected.set()

    async def _tend(self, log: Connection) -> None:
        """The chores of a live view: notices about dead letters, and snapshots."""
        while True:
            try:
                await self._report_dead_letters(log)
                if self._view and self._view.n - self._snapshot_n >= _SNAPSHOT_CHANGES:
                    await self._take_snapshot(log)
            except MosaicError as wrong:
                _logger.warning("a chore of the projector is put off: %s", wrong)
            await asyncio.sleep(_SNAPSHOT_LOOK_S)

    async def _take_snapshot(self, log: Connection) -> dict[str, Any]:
        async with self._snapshotting:
            assert self._view is not None
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
        told = int(notice.get("related", {}).get("count", "0"))
        holds = notice.get("status", "resolved") != "resolved"
        event: NoticeRaised | NoticeResolved
        if count and (count != told or not holds):
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
        """Row counts of the view, at most two seconds old."""
        at, counted = self._counted
        if time.monotonic() - at >= _COUNT_EVERY_S:
            try:
                with Reader(self._places.documents_db) as reader:
                    counted = reader.counts()
            except MosaicError as wrong:
                _logger.debug("nothing to count: %s", wrong)
            self._counted = (time.monotonic(), counted)
        return counted

    async def _on_rebuild(self, question: dict[str, Any]) -> AsyncIterator[Answer]:
        return self._rebuilding()

    async def _rebuilding(self) -> AsyncIterator[Answer]:
        before = self._view.epoch if self._view else None
        self._detail = ""
        self._wanted.set()
        while True:
            await asyncio.sleep(0.2)
            view, projector = self._view, self._projector
            if view is None or projector is None or view.epoch == before:
                yield {"step": "start"}
                continue
            progress = projector.progress().values()
            at = sum(each["applied"] for each in progress)
            of = at + sum(each["pending"] for each in progress)
            if self._state == "live":
                self._counted = (0.0, {})
                yield {"step": "done", "at": at, "of": of, **self.counts()}
                return
            yield {"step": "replay", "at": at, "of": of}

    async def _on_snapshot(self, question: dict[str, Any]) -> Answer:
        if self._connection is None or self._view is None:
            raise LogUnavailable("the projector has not started yet")
        return {"step": "done", **await self._take_snapshot(self._connection)}

    async def _on_verify(self, question: dict[str, Any]) -> AsyncIterator[Answer]:
        if self._connection is None or self._view is None:
            raise LogUnavailable("the projector has not started yet")
        return verification.verify(self._connection, self._view.path)


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
        return places.node_id.read_text().strip() or "view"
    except OSError:
        return "view"


async def _connected(places: Places) -> Connection:
    return await connection.connect(
        connection.server_url(places),
        name="views",
        seed=connection.seed_of(places, "control"),
    )


# The same works without a running projector, for `mosaicfs views …`


async def rebuild(places: Places) -> AsyncIterator[dict[str, Any]]:
    """Rebuild the view in this process; only while no projector runs."""
    service = Service(places)
    current = service._shelf.current()
    if current is not None:
        discard(current)
    task = asyncio.create_task(service.keep())
    try:
        async for line in service._rebuilding():
            if task.done():
                await task
            yield dict(line)
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
