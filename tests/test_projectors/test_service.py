"""The projector process against a real server, and everything that may happen to its files."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from events import connection as connections
from events import streams
from events.errors import Misconfigured
from events.machine import control
from events.vocabulary.files import FileIndexed
from events.vocabulary.nodes import NodeOnline
from projectors import service
from projectors.documents.reader import NoView, Reader
from projectors.documents.view import DocumentsView
from projectors.feed import FeedReader
from projectors.shelf import ViewTaken
from tests.conftest import WAIT_S, eventually
from tests.test_projectors.meaning import meaning
from tests.test_projectors.running import Process, Running, a_log, names, point_to, projecting
from tests.test_projectors.test_view import WAYS, broken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from events.consume import Message
    from events.machine.places import Places
    from projectors.view import Applied
    from tests.conftest import LogRecords, NatsServer

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def pointed(machine: Places, nats_server: NatsServer) -> None:
    point_to(machine, nats_server)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at streams and files all the time, instead of four times a minute."""
    monkeypatch.setattr(service, "_LOOK_S", 0.05)
    monkeypatch.setattr(service, "_TEND_AGAIN_S", 0.0)


async def test_starts_from_nothing_and_goes_on_where_it_was(
    machine: Places, nats_server: NatsServer
) -> None:
    async with a_log(nats_server) as log:
        ack = await log.index(0, 50)
        async with projecting(machine) as projector:
            status = await projector.live()
            assert status["files"] == 50
            assert status["streams"]["FILES"] == {"applied": ack.sequence, "pending": 0}
            assert status["rss"] > 0
            build = machine.documents_db.readlink()
        await log.index(50, 50)
        async with projecting(machine) as projector:
            assert (await projector.live())["files"] == 100
            await projector.reached(await log.index(100))
            await projector.equal()
        assert machine.documents_db.readlink() == build
    assert not machine.socket("projector").exists()
    assert len(names(machine.documents_db)) == 101


async def test_without_a_server_it_waits_and_says_so(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    async with a_log(nats_server) as log:
        await log.index(0, 3)
    nats_server.kill()
    async with projecting(machine) as projector:
        assert (await projector.status())["state"] == "waiting for the event log"
        nats_server.start()
        assert (await projector.live())["files"] == 3
        our_log.allow("lost the event log")
        nats_server.kill()

        async def says_so() -> bool:
            return "away" in (await projector.status())["detail"]

        await eventually(says_so, "it says that the log is away")
        nats_server.start()
        await projector.live()


async def test_the_server_is_killed_in_the_middle(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.allow("lost the event log")
    our_log.allow("next try in")
    kills = 0
    async with a_log(nats_server) as log, projecting(machine) as projector:
        await projector.live()
        for turn in range(4):
            first = 2000 * turn
            ack = await log.index(first, 2000, per=5)
            async with FeedReader(projector.socket) as feed:
                await feed.wait_for("FILES", ack.sequence - 399 + 10 * turn, WAIT_S)
            nats_server.kill()
            kills += 1
            nats_server.start()
            await projector.reached(ack)
        await projector.equal()
        assert (await projector.status())["files"] == 8000
    assert kills == 4


# A damaged file


@pytest.mark.parametrize("how", WAYS)
async def test_a_damaged_view_is_set_aside_and_made_anew(
    machine: Places, nats_server: NatsServer, our_log: LogRecords, how: str
) -> None:
    path = machine.documents_db
    async with a_log(nats_server) as log:
        await log.index(0, 2000, per=100)
        async with projecting(machine) as projector:
            await projector.live()
        whole = meaning(path)
        broken(path.resolve(), how)
        our_log.expect("the damaged view is kept as")
        our_log.expect("the view is rebuilt from the log: .*damaged|malformed")
        async with projecting(machine) as projector:
            await projector.live()
            await projector.equal()
        assert meaning(path) == whole
        assert (path.parent / "documents.damaged").exists()


async def test_an_empty_file_in_the_views_place_is_made_anew(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    async with a_log(nats_server) as log:
        await log.index(0, 3)
        async with projecting(machine) as projector:
            await projector.live()
        machine.documents_db.resolve().write_bytes(b"")
        our_log.expect("rebuilt from the log: .* is not a document view")
        async with projecting(machine) as projector:
            await projector.live()
    assert len(names(machine.documents_db)) == 3


async def test_damage_that_only_a_reader_meets_is_mended(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    """The projector has the page in its memory; who asks for the status has not."""
    path = machine.documents_db
    async with a_log(nats_server) as log:
        await log.index(0, 500, per=100)
        async with projecting(machine) as projector:
            await projector.live()
            with Reader(path) as reader:
                epoch = reader.epoch()
            connection = apsw.Connection(str(path))
            page = int(
                str(
                    connection.execute(
                        "SELECT rootpage FROM sqlite_schema WHERE name='tallies'"
                    ).get
                )
            )
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            with path.resolve().open("r+b") as file:
                file.seek((page - 1) * 4096)
                file.write(b"\x5a" * 4096)
            our_log.expect("the damaged view is kept as")
            our_log.expect("rebuilt from the log")

            async def is_mended() -> bool:
                status = await projector.status()
                try:
                    with Reader(path) as reader:
                        return status["state"] == "live" and reader.epoch() != epoch
                except NoView:
                    return False

            await eventually(is_mended, "it is made anew")
            await projector.equal()


class Corrupting(DocumentsView):
    """A view whose first commit meets a page that is broken."""

    met = 0

    def apply(self, messages: Sequence[Message]) -> Applied:
        if Corrupting.met == 0:
            Corrupting.met += 1
            self._connection.execute("PRAGMA cache_size = 0")
            connection = apsw.Connection(str(self.path))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            with self.path.open("r+b") as file:
                file.seek(4096)
                file.write(b"\x5a" * 4096 * 200)
        return super().apply(messages)


async def test_damage_that_is_met_while_writing_is_mended(
    machine: Places,
    nats_server: NatsServer,
    our_log: LogRecords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    our_log.expect("the damaged view is kept as")
    our_log.expect("rebuilt from the log: .* is damaged")
    Corrupting.met = 0
    monkeypatch.setattr(service, "DocumentsView", Corrupting)
    async with a_log(nats_server) as log:
        await log.index(0, 100)
        async with projecting(machine) as projector:
            assert (await projector.live())["files"] == 100
            await projector.equal()
    assert Corrupting.met == 1


@pytest.mark.usefixtures("hasty")
async def test_a_view_that_is_deleted_under_it_is_made_anew(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("the view's file is gone")
    path = machine.documents_db
    async with a_log(nats_server) as log:
        await log.index(0, 5)
        async with projecting(machine) as projector:
            await projector.live()
            for file in path.parent.iterdir():
                file.unlink()
            await eventually(lambda: len(names(path)) == 5, "it is back")
            await projector.reached(await log.index(5))
            await projector.equal()


# Another log


async def test_a_stream_that_was_made_anew_means_a_new_view(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    async with a_log(nats_server) as log:
        await log.index(0, 5)
        async with projecting(machine) as projector:
            await projector.live()
        await log.connection.api("STREAM.DELETE.FILES")
        await streams.ensure(log.connection)
        await log.index(100, 2)
        our_log.expect("rebuilt from the log: the stream FILES was created again at")
        async with projecting(machine) as projector:
            await projector.live()
    assert names(machine.documents_db) == {"file 100.txt", "file 101.txt"}


@pytest.mark.usefixtures("hasty")
async def test_a_stream_that_is_made_anew_while_it_runs(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    """No connection is lost, so nothing but a look at the streams can tell."""
    our_log.expect("rebuilt from the log: the stream FILES (is gone|was created again)")
    our_log.allow("next try in")
    async with a_log(nats_server) as log:
        await log.index(0, 5)
        async with projecting(machine) as projector:
            await projector.live()
            await log.connection.api("STREAM.DELETE.FILES")
            await streams.ensure(log.connection)
            await log.index(100, 2)
            new = {"file 100.txt", "file 101.txt"}
            await eventually(lambda: names(machine.documents_db) == new, "the new log is read")
            await projector.live()
            await projector.equal()


async def test_a_log_that_is_shorter_than_the_view_means_a_new_view(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    """As after a server's disk was put back from an older copy."""
    store = nats_server.folder / "store"
    async with a_log(nats_server) as log:
        await log.index(0, 5)
    nats_server.stop()
    subprocess.run(["cp", "-a", store, nats_server.folder / "older"], check=True)
    nats_server.start()
    async with a_log(nats_server) as log:
        await log.index(5, 5)
        async with projecting(machine) as projector:
            await projector.live()
            assert len(names(machine.documents_db)) == 10
    nats_server.stop()
    subprocess.run(["rm", "-rf", store], check=True)
    (nats_server.folder / "older").rename(store)
    nats_server.start()
    our_log.expect("rebuilt from the log: the stream FILES ends at 5, the view has read up to 10")
    async with projecting(machine) as projector:
        await projector.live()
        await projector.equal()
    assert len(names(machine.documents_db)) == 5


async def test_the_servers_disk_is_replaced_while_it_runs(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.allow("lost the event log")
    our_log.allow("next try in")
    our_log.expect("rebuilt from the log: the stream .* (is gone|was created again)")
    async with a_log(nats_server) as log:
        await log.index(0, 5)
        async with projecting(machine) as projector:
            await projector.live()
            nats_server.kill()
            subprocess.run(["rm", "-rf", nats_server.folder / "store"], check=True)
            nats_server.start()

            async def is_empty() -> bool:
                status = await projector.status()
                return bool(status["state"] == "live" and status["files"] == 0)

            await eventually(is_empty, "it follows the new log")
            async with a_log(nats_server) as new:
                await projector.reached(await new.index(7))
    assert names(machine.documents_db) == {"file 7.txt"}


async def test_another_version_of_the_view_is_made_anew_beside_it(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    path = machine.documents_db
    async with a_log(nats_server) as log:
        await log.index(0, 5)
        async with projecting(machine) as projector:
            await projector.live()
        connection = apsw.Connection(str(path))
        connection.execute("UPDATE meta SET value = 1 WHERE key = 'version'")
        connection.close()
        our_log.expect("rebuilt from the log: .* has version 1, this program")
        async with projecting(machine) as projector:
            await projector.live()
        assert len(names(path)) == 5


# Rebuild


async def test_readers_keep_the_old_view_until_the_new_one_is_there(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("rebuilt from the log: asked for")
    path = machine.documents_db
    async with a_log(nats_server) as log:
        await log.index(0, 20_000, per=100)
        async with projecting(machine) as projector:
            await projector.live()
            before = meaning(path)
            epochs, looked, over = set(), 0, asyncio.Event()

            async def look() -> None:
                nonlocal looked
                while not over.is_set():
                    with Reader(path) as reader, reader.transaction():
                        assert reader.counts()["files"] == 20_000
                        assert len(reader.files(limit=100)) == 100
                        epochs.add(reader.epoch())
                    looked += 1
                    await asyncio.sleep(0)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(look())
                answers = await projector.do("rebuild")
                over.set()
            assert answers[-1]["step"] == "done"
            assert answers[-1]["files"] == 20_000
            assert len(epochs) == 2
            assert looked > 10
            # Who follows the feed hears of the new build, and goes on from there.
            async with FeedReader(projector.socket) as feed:
                with Reader(path) as reader:
                    assert (await feed.line()).epoch == reader.epoch()
            await projector.reached(await log.index(20_000))
            await projector.equal()
        assert [row for row in meaning(path)["files"] if row not in before["files"]] != []
        assert len(list(path.parent.glob("documents-*.db"))) == 1


async def test_two_ask_for_a_rebuild_and_get_one(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("rebuilt from the log: asked for")
    async with a_log(nats_server) as log:
        await log.index(0, 10)
        async with projecting(machine) as projector:
            await projector.live()
            one, other = await asyncio.gather(projector.do("rebuild"), projector.do("rebuild"))
            assert one[-1]["files"] == other[-1]["files"] == 10
    assert len([m for m in our_log.messages if "rebuilt" in m]) == 1


async def test_a_rebuild_that_is_asked_for_at_the_very_start_is_done(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("rebuilt from the log: asked for")
    async with a_log(nats_server) as log:
        await log.index(0, 10)
        async with projecting(machine) as projector:
            await projector.live()
        build = machine.documents_db.readlink()
        async with projecting(machine) as projector:
            answers = await projector.do("rebuild")
        assert answers[-1]["files"] == 10
        assert machine.documents_db.readlink() != build


async def test_verbs_without_a_projector(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    """What `mosaicfs views …` does where nothing runs."""
    our_log.expect("rebuilt from the log: asked for")
    async with a_log(nats_server) as log:
        await log.index(0, 10)
        lines = [line async for line in service.rebuild(machine)]
        assert lines[-1]["step"] == "done"
        assert lines[-1]["files"] == 10
        lines = [line async for line in service.snapshot(machine)]
        assert lines[-1]["bytes"] > 0
        lines = [line async for line in service.verify(machine)]
        assert lines[-1]["equal"]
        assert not list(machine.documents_db.parent.glob("*.tmp*"))


async def test_a_rebuild_beside_a_running_projector_is_refused(
    machine: Places, nats_server: NatsServer
) -> None:
    async with a_log(nats_server) as log:
        await log.index(0, 10)
        async with projecting(machine) as projector:
            await projector.live()
            with pytest.raises(ViewTaken):
                async with aclosing(service.rebuild(machine)) as lines:  # type: ignore[type-var]  # declared as an iterator, is a generator
                    async for _ in lines:
                        pass
            with pytest.raises(ViewTaken):
                await service.run(machine)
            assert (await projector.status())["files"] == 10


# What cannot be understood


@pytest.mark.usefixtures("hasty")
async def test_garbage_is_put_aside_and_told_once(
    machine: Places,
    nats_server: NatsServer,
    our_log: LogRecords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    our_log.expect("dead letter")
    path = machine.documents_db
    notice: dict[str, Any] = {}

    def told() -> int:
        nonlocal notice
        with Reader(path) as reader:
            notice = reader.document("notification::projector::dead_letters") or {}
        return int(notice.get("occurrence_count", 0))

    async with a_log(nats_server) as log:
        await log.garbage()
        await log.index(0, 5)
        async with projecting(machine) as projector:
            assert (await projector.live())["dead_letters"] == 1
            await eventually(lambda: told() == 1, "there is a notice")
            assert notice["severity"] == "warning"
            assert notice["related"] == {"count": "1"}
        for _ in range(3):
            async with projecting(machine) as projector:
                await projector.live()
                # The next one is told at once, so the chores of the start were done before.
                await projector.reached(await log.index(log.said))
        assert told() == 1
        async with projecting(machine) as projector:
            await projector.live()
            await log.garbage("mosaic.files.nonsense")
            await log.garbage("mosaic.catalog.directory.x")
            await eventually(
                lambda: told() > 1 and notice["related"] == {"count": "3"}, "more are told of"
            )
            assert (await projector.status())["files"] == 8
            await projector.equal()


async def test_a_notice_of_somebody_else_in_our_name_does_no_harm(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    from events.vocabulary.notices import NoticeRaised

    our_log.expect("dead letter")
    async with a_log(nats_server) as log:
        raised = NoticeRaised(
            severity="info", title="t", message="m", related={"count": "not a number"}
        )
        await log.say(raised, "projector", "dead_letters")
        await log.garbage()
        async with projecting(machine) as projector:
            await projector.live()

            def told() -> bool:
                with Reader(machine.documents_db) as reader:
                    found = reader.document("notification::projector::dead_letters") or {}
                return bool(found.get("related") == {"count": "1"})

            await eventually(told, "it says its own")


@pytest.mark.usefixtures("hasty")
async def test_an_event_of_the_future_is_healed_by_the_upgrade(
    machine: Places,
    nats_server: NatsServer,
    our_log: LogRecords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    our_log.expect("dead letter: file.indexed has version 2")
    our_log.expect("rebuilt from the log: asked for")
    path = machine.documents_db

    def status_of_notice() -> str:
        with Reader(path) as reader:
            found = reader.document("notification::projector::dead_letters") or {}
        return str(found.get("status"))

    async with a_log(nats_server) as log:
        with monkeypatch.context() as newer:
            newer.setattr(FileIndexed, "version", 2)
            await log.index(0)
        async with projecting(machine) as projector:
            assert (await projector.live())["dead_letters"] == 1
            await eventually(lambda: status_of_notice() == "active", "it is told of")
        # The upgraded program knows version 2, and how to lift version 1; here they are the same.
        monkeypatch.setattr(FileIndexed, "version", 2)
        async with projecting(machine) as projector:
            assert (await projector.live())["dead_letters"] == 1
            answers = await projector.do("rebuild")
            assert answers[-1]["dead_letters"] == 0
            assert answers[-1]["files"] == 1
            await eventually(lambda: status_of_notice() == "resolved", "it is over")


# A disk that is full


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tmpfs")
async def test_a_full_disk_is_told_and_goes_on_when_there_is_room(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("cannot write the view, next try in .* free some space")
    views = machine.documents_db.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "none", views], check=True)
    try:
        async with a_log(nats_server) as log:
            ack = await log.index(0, 8000, per=500)
            async with projecting(machine) as projector:

                async def is_full() -> bool:
                    status = await projector.status()
                    return status["state"] == "degraded" and "free some space" in status["detail"]

                await eventually(is_full, "it says that the disk is full")
                subprocess.run(["mount", "-o", "remount,size=40m", "none", views], check=True)
                await projector.reached(ack)
                assert (await projector.live())["files"] == 8000
                await projector.equal()
    finally:
        subprocess.run(["umount", views], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tmpfs")
async def test_no_room_for_any_view_is_waited_for(
    machine: Places, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("next try in")
    views = machine.documents_db.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", views], check=True)
    try:
        async with a_log(nats_server) as log:
            await log.index(0, 10)
            async with projecting(machine) as projector:

                async def is_degraded() -> bool:
                    return bool((await projector.status())["state"] == "degraded")

                await eventually(is_degraded, "it says so")
                subprocess.run(["mount", "-o", "remount,size=40m", "none", views], check=True)
                assert (await projector.live())["files"] == 10
            assert len(list(views.iterdir())) == 3
    finally:
        subprocess.run(["umount", views], check=True)


# Ends


class Buggy(DocumentsView):
    def apply(self, messages: Sequence[Message]) -> Applied:
        raise ZeroDivisionError("a bug")


async def test_a_bug_ends_the_process_instead_of_hanging_it(
    machine: Places, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DocumentsView", Buggy)
    async with a_log(nats_server) as log:
        await log.index(0)
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.timeout(WAIT_S):
                await service.run(machine)
    assert caught.group_contains(ZeroDivisionError)
    assert not machine.socket("projector").exists()


async def test_it_stops_while_it_waits_for_better_times(
    machine: Places,
    nats_server: NatsServer,
    our_log: LogRecords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the middle of a back-off, an end is still an end and not an error."""
    our_log.expect("next try in")

    async def refused(_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(streams, "ensure", refused)
    task = asyncio.create_task(service.run(machine))
    running = Running(machine)
    await eventually(running.socket.exists, "it is up")

    async def is_degraded() -> bool:
        return bool((await running.status())["state"] == "degraded")

    await eventually(is_degraded, "it waits")
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()


async def test_an_error_at_the_moment_of_the_end_does_not_keep_it_alive(
    machine: Places, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, our_log: LogRecords
) -> None:
    """A task group that fails while it is cancelled forgets the cancellation."""
    our_log.allow("next try in")
    async with a_log(nats_server) as log:
        await log.index(0)

        class Failing(DocumentsView):
            def apply(self, messages: Sequence[Message]) -> Applied:
                loop.call_soon_threadsafe(task.cancel)
                raise connections.ApiError({"description": "at the worst moment"})

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(service, "DocumentsView", Failing)
        task = asyncio.create_task(service.run(machine))
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait((task,))
    assert task.cancelled()


async def test_without_knowing_a_server_it_ends_with_words(machine: Places) -> None:
    (machine.nats / "url").unlink()
    with pytest.raises(ExceptionGroup) as caught:
        await service.run(machine)
    assert caught.group_contains(Misconfigured, match="no event log is known")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_process_stops_when_asked(
    machine: Places, nats_server: NatsServer, how: signal.Signals
) -> None:
    async with a_log(nats_server) as log:
        await log.index(0, 10)
        process = Process(machine)
        await Running(machine).live()
        os.kill(process.pid, how)
        assert process.stop() == 0
    assert not machine.socket("projector").exists()
    # Folded in: the file alone is the view.
    assert sorted(path.suffix for path in machine.documents_db.parent.iterdir()) == [
        *(".db", ".db", ".lock"),
    ]


async def test_two_machines_do_not_take_each_others_place(
    machine: Places, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Machines without an agent have no node id; their consumers are theirs all the same."""
    from events.machine import places

    other = places.find(tmp_path / "other machine")
    point_to(other, nats_server)
    async with a_log(nats_server) as log, projecting(machine) as one, projecting(other) as two:
        await one.live()
        await two.live()
        ack = await log.index(0, 10)
        await one.reached(ack)
        await two.reached(ack)
        consumers = await log.connection.api("CONSUMER.NAMES.FILES")
        assert len(consumers["consumers"]) == 2
        await one.reached(await log.say(NodeOnline(v=1), "n1"))
    assert names(machine.documents_db) == names(other.documents_db)


async def test_an_unknown_verb_is_answered(machine: Places) -> None:
    async with projecting(machine) as projector:
        await projector.live()
        with pytest.raises(Exception, match="no such verb"):
            await control.ask(projector.socket, {"do": "dance"})
