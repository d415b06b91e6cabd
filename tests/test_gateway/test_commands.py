"""Commands: decided on the log's state, conflicts told, retries safe, answers visible."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from events import append, commands, connection, consume
from events.errors import LogUnavailable, Refused
from events.vocabulary.catalog import DirectoryBody, LabelRuleBody
from gateway import context
from gateway.commands import NotYetVisible, Stale
from gateway.config import GatewayConfig
from tests.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from events.codec import Wire
    from events.connection import Connection
    from gateway.context import Context
    from tests.conftest import LogRecords
    from tests.test_gateway.world import World

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def made(world: World, folder: Path, url: str | None = None) -> AsyncIterator[Context]:
    """A context without a server, on the world's log and view."""
    places = world.places._replace(state=folder, config=folder)
    (folder / "keys").mkdir()
    (folder / "views").symlink_to(world.places.documents_db.parent)
    log = await connection.connect(url or world.server.url, name="test")
    built = context.build(places, GatewayConfig(), log)
    following = asyncio.create_task(built.feed.run())
    await eventually(lambda: built.feed.connected, "the feed is there")
    try:
        yield built
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        built.close()
        with contextlib.suppress(ConnectionError):
            await log.close()


async def test_a_command_is_visible_when_it_is_answered(
    world: World, tmp_path: Path, word: str
) -> None:
    async with made(world, tmp_path) as it:
        done = await it.commands.submit(commands.ChangeSetting(key=word, value=1), "max")
        assert done.stream == "CATALOG"
        assert done.ids == [f"setting::{word}"]
        body = await it.views.read(lambda view: view.document(f"setting::{word}"))
        assert body is not None
        assert body["value"] == 1
        again = await it.commands.submit(commands.ChangeSetting(key=word, value=1), "max")
        assert again == done


async def test_a_generation_that_is_not_the_present_one_is_a_conflict(
    world: World, tmp_path: Path, word: str
) -> None:
    async with made(world, tmp_path) as it:
        for value in (1, 2):
            await it.commands.submit(commands.ChangeSetting(key=word, value=value), "max")
        with pytest.raises(Stale) as caught:
            await it.commands.submit(commands.ChangeSetting(key=word, value=3, expects=1), "max")
        assert caught.value.doc == f"setting::{word}"
        assert caught.value.rev is not None
        assert caught.value.rev.startswith("2-")
        await it.commands.submit(commands.ChangeSetting(key=word, value=3, expects=2), "max")


async def test_what_was_removed_can_be_made_again(world: World, tmp_path: Path, word: str) -> None:
    async with made(world, tmp_path) as it:
        rule = LabelRuleBody(name="n", node="*", path_prefix="/a/", labels=["b"])
        create = commands.CreateLabelRule(id=word, body=rule)
        await it.commands.submit(create, "max")
        with pytest.raises(Refused, match="exists already"):
            await it.commands.submit(create, "max")
        await it.commands.submit(commands.RemoveLabelRule(id=word), "max")
        assert await it.views.read(lambda view: view.generation(f"label_rule::{word}")) == 2
        await it.commands.submit(create, "max")
        body = await it.views.read(lambda view: view.document(f"label_rule::{word}"))
        assert body is not None
        assert str(body["_rev"]).startswith("3-")


async def test_of_many_at_once_none_overwrites_another(
    world: World, tmp_path: Path, word: str
) -> None:
    async with made(world, tmp_path) as it:
        await it.commands.submit(commands.ChangeSetting(key=word, value=0), "max")
        answers = await asyncio.gather(
            *(
                it.commands.submit(commands.ChangeSetting(key=word, value=n, expects=1), "max")
                for n in range(1, 11)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(each, Stale) for each in answers) == 9
        assert await it.views.read(lambda view: view.generation(f"setting::{word}")) == 2


async def test_a_directory_goes_with_all_below_it_or_not_at_all(
    world: World, tmp_path: Path, word: str
) -> None:
    async with made(world, tmp_path) as it:
        paths = [f"/{word}", f"/{word}/a", f"/{word}/a/b", f"/{word}/c", f"/{word}x"]
        for path in paths:
            command = commands.CreateDirectory(body=DirectoryBody(virtual_path=path))
            await it.commands.submit(command, "max")
        with pytest.raises(Refused, match="3 directories below"):
            await it.commands.submit(commands.RemoveDirectory(virtual_path=f"/{word}"), "max")
        remove = commands.RemoveDirectory(virtual_path=f"/{word}", cascade=True)
        done = await it.commands.submit(remove, "max")
        assert len(done.ids) == 4
        left = await it.views.read(lambda view: view.documents("virtual_directory"))
        assert [b["virtual_path"] for b in left if word in b["virtual_path"]] == [f"/{word}x"]


class Muffler:
    """Stands between a client and the server, and can keep an answer to itself."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.muffled = False
        self.kept = 0

        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._clients: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        await self.vanish()
        await asyncio.gather(*self._clients, return_exceptions=True)
        for writer in self._writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def vanish(self) -> None:
        """Hang up on everybody, and take no more calls."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, far_writer]

        async def there() -> None:
            while data := await reader.read(65536):
                far_writer.write(data)
            far_writer.close()

        async def back() -> None:
            while data := await far_reader.read(65536):
                if self.muffled and b'"seq"' in data:
                    # The confirmation is lost, and the connection with it.
                    self.kept += 1
                    self.muffled = False
                    break
                writer.write(data)
            writer.close()
            far_writer.close()

        await asyncio.gather(there(), back(), return_exceptions=True)


@pytest.mark.parametrize("events", [1, 3])
async def test_a_lost_confirmation_does_no_harm(
    world: World,
    tmp_path: Path,
    word: str,
    events: int,
    our_log: LogRecords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    our_log.expect("lost the event log")
    muffler = Muffler(world.server.port)
    async with muffler as url, made(world, tmp_path, url) as it:
        for path in [f"/{word}", f"/{word}/a", f"/{word}/b"][:events]:
            command = commands.CreateDirectory(body=DirectoryBody(virtual_path=path))
            await it.commands.submit(command, "max")
        real = append.append_atomic

        async def muffling(
            log: Connection,
            messages: Sequence[Wire],
            *,
            expected_sequences: Sequence[int | None] | None = None,
        ) -> append.Ack:
            # Once, and not before now: what a decision looks at must come through.
            muffler.muffled = muffler.kept == 0
            return await real(log, messages, expected_sequences=expected_sequences)

        monkeypatch.setattr(append, "append_atomic", muffling)
        remove = commands.RemoveDirectory(virtual_path=f"/{word}", cascade=True)
        done = await it.commands.submit(remove, "max")
        assert muffler.kept == 1
        assert len(done.ids) == events
        stored = [
            message
            async for batch in consume.read(it.log, "CATALOG", after=done.sequence - events)
            for message in batch
        ]
        assert len(stored) == events
        assert stored[-1].sequence == done.sequence


async def test_a_stored_change_that_cannot_be_seen_says_where_it_stands(
    world: World, tmp_path: Path, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with made(world, tmp_path) as it:
        await it.commands.submit(commands.ChangeSetting(key=word, value=1), "max")
        monkeypatch.setattr("gateway.commands.VISIBLE_S", 0.05)
        os.kill(world.projector.pid, signal.SIGSTOP)
        try:
            with pytest.raises(NotYetVisible) as caught:
                await it.commands.submit(commands.ChangeSetting(key=word, value=2), "max")
        finally:
            os.kill(world.projector.pid, signal.SIGCONT)
        await it.feed.wait_for("CATALOG", caught.value.committed.sequence)
        body = await it.views.read(lambda view: view.document(f"setting::{word}"))
        assert body is not None
        assert body["value"] == 2


async def test_a_log_that_is_away_is_told_as_that(
    tmp_path: Path, world: World, our_log: LogRecords
) -> None:
    our_log.expect("lost the event log")
    muffler = Muffler(world.server.port)
    async with muffler as url, made(world, tmp_path, url) as it:
        await muffler.vanish()
        await eventually(lambda: not it.log.connected, "it is away")
        with pytest.raises(LogUnavailable):
            await it.commands.submit(commands.ChangeSetting(key="k", value=1), "max")
        # What is in the view is answered all the same.
        assert await it.views.read(lambda view: view.epoch())
