"""Snapshots: a new machine starts from one, and no bad one does any harm."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from contextlib import closing
from typing import TYPE_CHECKING

import apsw
import nats.js.errors
import pytest
import zstandard
from nats.js.api import ObjectMeta

from events import streams
from events.errors import LogUnavailable
from projectors import snapshots
from projectors.documents.view import DocumentsView
from projectors.snapshots import BUCKET, restore, take
from tests.conftest import eventually
from tests.test_projectors.meaning import index_is_whole, meaning
from tests.test_projectors.running import a_log, names, point_to, projecting
from tests.test_projectors.tape import a_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from events.machine.places import Places
    from tests.conftest import LogRecords, NatsServer
    from tests.test_projectors.running import Log

pytestmark = pytest.mark.anyio


async def a_view(log: Log, path: Path, files: int = 50) -> None:
    """A view of the log as it is, made by the projector's own means."""
    from events import consume

    await log.index(0, files, per=10)
    heads = await streams.heads(log.connection)
    with closing(DocumentsView(path)) as view:
        view.adopt({name: str(head["created"]) for name, head in heads.items()})
        for name in heads:
            async for batch in consume.read(log.connection, name):
                view.apply(batch)


async def put(log: Log, content: bytes) -> None:
    """Store something else in the snapshot's place."""
    store = await log.connection.client.jetstream().object_store(BUCKET)
    await store.put(snapshots._NAME, content, ObjectMeta(name=snapshots._NAME))


async def test_what_is_restored_is_what_was_taken(nats_server: NatsServer, tmp_path: Path) -> None:
    async with a_log(nats_server) as log:
        await a_view(log, tmp_path / "v.db")
        taken = await take(log.connection, tmp_path / "v.db")
        assert taken["bytes"] > 0
        heads = await streams.heads(log.connection)
        assert await restore(log.connection, tmp_path / "w.db", heads)
    assert meaning(tmp_path / "w.db") == meaning(tmp_path / "v.db")
    index_is_whole(tmp_path / "w.db")
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".db"}


async def test_one_larger_than_a_message_and_than_a_pull(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with a_log(nats_server) as log:
        await a_view(log, tmp_path / "v.db", files=10)
        connection = apsw.Connection(str(tmp_path / "v.db"))
        connection.execute("INSERT INTO meta VALUES ('ballast', randomblob(20000000))")
        connection.close()
        assert (await take(log.connection, tmp_path / "v.db"))["bytes"] > 20_000_000
        heads = await streams.heads(log.connection)
        assert await restore(log.connection, tmp_path / "w.db", heads)
    assert meaning(tmp_path / "w.db") == meaning(tmp_path / "v.db")


async def test_the_newest_one_counts_and_the_old_one_is_gone(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with a_log(nats_server) as log:
        await a_view(log, tmp_path / "v.db")
        await take(log.connection, tmp_path / "v.db")
        before = (await log.connection.api(f"STREAM.INFO.OBJ_{BUCKET}"))["state"]["messages"]
        await log.index(100, 50)
        os.remove(tmp_path / "v.db")
        await a_view(log, tmp_path / "v.db")
        await take(log.connection, tmp_path / "v.db")
        after = (await log.connection.api(f"STREAM.INFO.OBJ_{BUCKET}"))["state"]["messages"]
        assert after == before
        heads = await streams.heads(log.connection)
        assert await restore(log.connection, tmp_path / "w.db", heads)
    assert "file 149.txt" in names(tmp_path / "w.db")


async def test_none_is_no_trouble(nats_server: NatsServer, tmp_path: Path) -> None:
    async with a_log(nats_server) as log:
        heads = await streams.heads(log.connection)
        assert not await restore(log.connection, tmp_path / "w.db", heads)
        await log.connection.client.jetstream().create_object_store(BUCKET)
        assert not await restore(log.connection, tmp_path / "w.db", heads)
        store = await log.connection.client.jetstream().object_store(BUCKET)
        await put(log, b"x")
        await store.delete(snapshots._NAME)
        with pytest.raises(nats.js.errors.NotFoundError):
            await store.get_info(snapshots._NAME)
        assert not await restore(log.connection, tmp_path / "w.db", heads)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def _foreign(path: Path) -> bytes:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    connection.close()
    return zstandard.compress(path.read_bytes())


def _other_version(path: Path) -> bytes:
    DocumentsView(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE meta SET value = 999 WHERE key = 'version'")
    connection.close()
    return zstandard.compress(path.read_bytes())


def _half(path: Path) -> bytes:
    DocumentsView(path).close()
    return zstandard.compress(path.read_bytes())[:-100]


def _torn(path: Path) -> bytes:
    DocumentsView(path).close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 9] = bytes(4096 * 6)
    return zstandard.compress(bytes(content))


@pytest.mark.parametrize(
    "make",
    [
        lambda _: b"",
        lambda _: b"not compressed",
        lambda _: zstandard.compress(b""),
        lambda _: zstandard.compress(b"not a database" * 1000),
        _foreign,
        _other_version,
        _half,
        _torn,
    ],
    ids=["empty", "noise", "empty inside", "noise inside", "foreign", "version", "half", "torn"],
)
async def test_a_bad_one_is_passed_over(
    nats_server: NatsServer,
    machine: Places,
    tmp_path: Path,
    our_log: LogRecords,
    make: Callable[[Path], bytes],
) -> None:
    our_log.expect("the snapshot is passed over")
    point_to(machine, nats_server)
    async with a_log(nats_server) as log:
        await log.index(0, 5)
        await log.connection.client.jetstream().create_object_store(BUCKET)
        await put(log, make(tmp_path / "made"))
        async with projecting(machine) as projector:
            await projector.live()
            await projector.equal()
        views = machine.documents_db.parent
        assert len(names(machine.documents_db)) == 5
        assert len(list(views.iterdir())) == 3


async def test_a_chunk_that_is_missing_is_noticed(
    nats_server: NatsServer, tmp_path: Path, our_log: LogRecords
) -> None:
    our_log.expect("the snapshot is passed over: the stored snapshot is not whole")
    async with a_log(nats_server) as log:
        await a_view(log, tmp_path / "v.db")
        await take(log.connection, tmp_path / "v.db")
        await log.connection.api(f"STREAM.MSG.DELETE.OBJ_{BUCKET}", {"seq": 1})
        heads = await streams.heads(log.connection)
        assert not await restore(log.connection, tmp_path / "w.db", heads)
    assert not (tmp_path / "w.db").exists()


async def test_one_of_another_log_is_passed_over(
    nats_server: NatsServer, machine: Places, tmp_path: Path, our_log: LogRecords
) -> None:
    our_log.expect("the snapshot is passed over: the stream FILES was created again")
    point_to(machine, nats_server)
    async with a_log(nats_server) as log:
        await a_view(log, tmp_path / "v.db")
        await take(log.connection, tmp_path / "v.db")
        await log.connection.api("STREAM.DELETE.FILES")
        await streams.ensure(log.connection)
        await log.index(500)
        async with projecting(machine) as projector:
            await projector.live()
    assert names(machine.documents_db) == {a_file(500).name}


async def test_a_new_machine_starts_from_it_and_reads_the_tail(
    nats_server: NatsServer, machine: Places, tmp_path: Path
) -> None:
    point_to(machine, nats_server)
    async with a_log(nats_server) as log:
        await a_view(log, tmp_path / "v.db")
        # A mark that no replay would make: what has it came from the snapshot.
        connection = apsw.Connection(str(tmp_path / "v.db"))
        connection.execute("INSERT INTO meta VALUES ('mark', 1)")
        connection.close()
        await take(log.connection, tmp_path / "v.db")
        await log.index(50, 7)
        async with projecting(machine) as projector:
            await projector.live()
            await projector.equal()
        assert len(names(machine.documents_db)) == 57
        connection = apsw.Connection(str(machine.documents_db))
        assert connection.execute("SELECT value FROM meta WHERE key = 'mark'").get == 1
        connection.close()


async def test_the_projector_takes_one_when_enough_has_changed(
    nats_server: NatsServer, machine: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from projectors import service

    monkeypatch.setattr(service, "_SNAPSHOT_CHANGES", 100)
    point_to(machine, nats_server)
    async with a_log(nats_server) as log:
        await log.index(0, 150, per=10)
        async with projecting(machine) as projector:
            await projector.live()

            async def is_there() -> bool:
                heads = await streams.heads(log.connection)
                return await restore(log.connection, tmp_path / "w.db", heads)

            await eventually(is_there, "there is a snapshot")
    assert len(names(tmp_path / "w.db")) == 150


async def test_a_server_that_goes_away_meanwhile_is_said(
    nats_server: NatsServer, tmp_path: Path, our_log: LogRecords
) -> None:
    our_log.allow("lost the event log")
    async with a_log(nats_server) as log:
        await a_view(log, tmp_path / "v.db")
        nats_server.kill()
        with pytest.raises(LogUnavailable):
            await take(log.connection, tmp_path / "v.db")
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["v.db"]


async def chunks(log: Log) -> set[str]:
    """The subjects under which the bytes of snapshots are stored."""
    answer = await log.connection.api(
        f"STREAM.INFO.OBJ_{BUCKET}", {"subjects_filter": f"$O.{BUCKET}.C.>"}
    )
    return set(answer["state"].get("subjects") or {})


async def test_what_another_machine_is_storing_right_now_is_left_to_it(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with a_log(nats_server) as log:
        await a_view(log, tmp_path / "v.db")
        await take(log.connection, tmp_path / "v.db")
        await log.connection.client.jetstream().publish(f"$O.{BUCKET}.C.other", b"a chunk")
        await take(log.connection, tmp_path / "v.db")
        assert f"$O.{BUCKET}.C.other" in await chunks(log)


_TAKES = """
    import asyncio, os, sys
    from pathlib import Path
    from events import connection
    from projectors import snapshots

    pack = snapshots._pack
    def packed(view, copy, target):
        pack(view, copy, target)
        print("packing", flush=True)
        sys.stdin.read()
    if sys.argv[3] == "packing":
        snapshots._pack = packed

    async def main():
        log = await connection.connect(sys.argv[2], name="t")
        if sys.argv[3] == "storing":
            async def slow(*args, **kwargs):
                await publish(*args, **kwargs)
                print("storing", flush=True)
                sys.stdin.read()
            js = log.client.jetstream()
            publish = js.__class__.publish
            js.__class__.publish = slow
        await snapshots.take(log, Path(sys.argv[1]))
    asyncio.run(main())
"""


@pytest.mark.parametrize("stage", ["packing", "storing"])
async def test_a_kill_in_the_middle_leaves_nothing_after_the_next_start(
    nats_server: NatsServer, machine: Places, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(machine, nats_server)
    views = machine.documents_db.parent
    async with a_log(nats_server) as log:
        await log.index(0, 50)
        async with projecting(machine) as projector:
            await projector.live()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", textwrap.dedent(_TAKES)),
            *(str(machine.documents_db.resolve()), nats_server.url, stage),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == f"{stage}\n".encode()
        assert list(views.glob("*.tmp*")) != []
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        async with projecting(machine) as projector:
            await projector.live()
            assert list(views.glob("*.tmp*")) == []
            if stage == "storing":
                assert len(await chunks(log)) == 1
                monkeypatch.setattr(snapshots, "_ABANDONED_S", 0.0)
            await projector.do("snapshot")
            store = await log.connection.client.jetstream().object_store(BUCKET)
            info = await store.get_info(snapshots._NAME)
            assert await chunks(log) == {f"$O.{BUCKET}.C.{info.nuid}"}
            await projector.equal()
        assert sorted(path.name for path in views.iterdir()) == sorted(
            ["documents.db", "documents.lock", machine.documents_db.readlink().name]
        )
