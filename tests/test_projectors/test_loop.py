"""The loop between a real server and a view."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from events import retry, streams
from events.machine.database import DiskFull
from events.vocabulary.nodes import NodeOnline
from projectors.documents.reader import Reader
from projectors.documents.view import DocumentsView
from projectors.loop import Projector, check, last_message
from projectors.thread import to_the_end
from projectors.view import Applied, Checkpoint, StaleView
from tests.conftest import eventually
from tests.test_projectors.meaning import meaning
from tests.test_projectors.running import a_log
from tests.test_projectors.tape import a_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from events.consume import Message
    from tests.conftest import LogRecords, NatsServer
    from tests.test_projectors.running import Log

pytestmark = pytest.mark.anyio


class Told:
    """What the loop tells after each commit, and what the view said at that moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.all: list[Applied] = []
        self.reached: dict[str, int] = {}

    def __call__(self, applied: Applied, checkpoints: Mapping[str, Checkpoint]) -> None:
        self.all.append(applied)
        self.reached = {name: checkpoint.sequence for name, checkpoint in checkpoints.items()}
        with Reader(self._path) as reader:
            assert reader.checkpoints() == self.reached, "told before it was committed"


@asynccontextmanager
async def looping(log: Log, view: DocumentsView) -> AsyncIterator[tuple[Projector, Told]]:
    told = Told(view.path)
    projector = Projector(log.connection, view, "documents-test", told)
    task = asyncio.create_task(projector.run(await streams.heads(log.connection)))
    try:
        yield projector, told
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_what_is_told_is_committed_and_names_what_changed(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with a_log(nats_server) as log:
        await log.index(0, 3)
        with closing(DocumentsView(tmp_path / "v.db")) as view:
            async with looping(log, view) as (projector, told):
                await projector.caught_up.wait()
                ack = await log.index(3)
                await eventually(lambda: told.reached.get("FILES") == ack.sequence, "it is told")
    docs = [doc for applied in told.all for doc in applied.docs or []]
    assert docs == [f"file::{a_file(n).id}" for n in range(4)]


async def test_redelivery_is_harmless(nats_server: NatsServer, tmp_path: Path) -> None:
    """The consumer on the server is removed again and again; each time it begins anew."""
    path = tmp_path / "v.db"
    async with a_log(nats_server) as log:
        with closing(DocumentsView(path)) as view:
            async with looping(log, view) as (_, told):
                for turn in range(4):
                    ack = await log.index(turn * 10, 10)
                    await eventually(lambda: told.reached.get("FILES") == ack.sequence, "applied")
                    await log.connection.api("CONSUMER.DELETE.FILES.documents-test")
            once = meaning(path)
        # A second reader that begins at the front, on the same view.
        with closing(DocumentsView(path)) as view:
            held = view.checkpoints()
            view._checkpoints = {name: at._replace(sequence=0) for name, at in held.items()}
            async with looping(log, view) as (_, told):
                await eventually(lambda: told.reached.get("FILES") == ack.sequence, "once more")
    assert meaning(path) == once
    with Reader(path) as reader:
        assert reader.counts()["files"] == 40


class Refusing(DocumentsView):
    """A view on a disk that is full for a while, at its second message."""

    full = True
    refused = 0

    def apply(self, messages: Sequence[Message]) -> Applied:
        if not self.full:
            return super().apply(messages)
        # As the one-by-one path may: a part is in, then there is no room.
        super().apply(messages[:1])
        self.refused += 1
        raise DiskFull("no room left")


async def test_a_full_disk_is_waited_for(
    nats_server: NatsServer,
    tmp_path: Path,
    our_log: LogRecords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    our_log.expect("cannot write the view, next try in .* no room left")
    monkeypatch.setattr(retry, "FACTOR", 1.0)
    monkeypatch.setattr(retry.Backoff.__init__, "__defaults__", (0.02, 0.02, None))
    path = tmp_path / "v.db"
    async with a_log(nats_server) as log:
        ack = await log.index(0, 20)
        with closing(Refusing(path)) as view:
            async with looping(log, view) as (projector, told):
                await eventually(lambda: view.refused >= 2, "it was tried twice")
                assert projector.trouble == "no room left"
                view.full = False
                await eventually(lambda: told.reached.get("FILES") == ack.sequence, "it goes on")
                assert projector.trouble is None
    with Reader(path) as reader:
        assert reader.counts()["files"] == 20
    # The documents of the part that was in are in nobody's answer: a reader has to look itself.
    assert told.all[0].docs is None


class Slow(DocumentsView):
    """A view whose writing is under way for as long as a test wants."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.ended = False

    def apply(self, messages: Sequence[Message]) -> Applied:
        self.began.set()
        assert self.may_end.wait(20)
        applied = super().apply(messages)
        self.ended = True
        return applied


async def test_cancelling_waits_for_the_thread_that_writes(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Else the view would be closed under it."""
    path = tmp_path / "v.db"
    async with a_log(nats_server) as log:
        await log.index(0)
        with closing(Slow(path)) as view:
            projector = Projector(log.connection, view, "documents-test", Told(path))
            task = asyncio.create_task(projector.run(await streams.heads(log.connection)))
            await eventually(view.began.is_set, "it writes")
            task.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
                task.cancel()
            assert not task.done()
            view.may_end.set()
            await asyncio.wait((task,))
            assert view.ended
            assert task.cancelled()
    with Reader(path) as reader:
        assert reader.counts()["files"] == 1


async def test_an_error_in_a_thread_that_was_cancelled_is_not_reported_as_lost() -> None:
    began, may_end = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        may_end.wait(20)
        raise ValueError("nobody waits for this")

    task = asyncio.create_task(to_the_end(work))
    await eventually(began.is_set, "it works")
    task.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


class Failing(DocumentsView):
    def apply(self, messages: Sequence[Message]) -> Applied:
        raise ZeroDivisionError("a bug")


async def test_a_bug_ends_the_loop(nats_server: NatsServer, tmp_path: Path) -> None:
    async with a_log(nats_server) as log:
        await log.index(0)
        with closing(Failing(tmp_path / "v.db")) as view:
            projector = Projector(log.connection, view, "documents-test", Told(view.path))
            heads = await streams.heads(log.connection)
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.timeout(20):
                    await projector.run(heads)
    assert caught.group_contains(ZeroDivisionError, match="a bug")


async def test_caught_up_although_the_last_messages_were_removed(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """What a node said is purged when the node is no more."""
    async with a_log(nats_server) as log:
        await log.say(NodeOnline(v=1), "stays")
        await log.say(NodeOnline(v=1), "leaves")
        await log.connection.api("STREAM.PURGE.NODES", {"filter": "mosaic.nodes.leaves.>"})
        heads = await streams.heads(log.connection)
        assert await last_message(log.connection, "NODES", heads["NODES"]) == 1
        assert await last_message(log.connection, "FILES", heads["FILES"]) == 0
        with closing(DocumentsView(tmp_path / "v.db")) as view:
            async with looping(log, view) as (projector, _):
                async with asyncio.timeout(20):
                    await projector.caught_up.wait()
        await log.connection.api("STREAM.PURGE.NODES")
        heads = await streams.heads(log.connection)
        assert await last_message(log.connection, "NODES", heads["NODES"]) == 0


def a_head(**changes: object) -> dict[str, dict[str, Any]]:
    return {"FILES": {"created": "then", "last_seq": 7, "messages": 7, **changes}}


def test_the_same_log_is_the_same_log() -> None:
    check({"FILES": Checkpoint("then", 7)}, a_head())
    check({}, a_head())


@pytest.mark.parametrize(
    ("heads", "why"),
    [
        ({}, "FILES is gone"),
        (a_head(created="later"), "created again at later"),
        (a_head(last_seq=6), "ends at 6, the view has read up to 7"),
    ],
)
def test_another_log_is_another_log(heads: dict[str, dict[str, Any]], why: str) -> None:
    with pytest.raises(StaleView, match=why):
        check({"FILES": Checkpoint("then", 7)}, heads)
