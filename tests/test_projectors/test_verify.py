"""Verify finds every kind of difference, and none where there is none."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from events import connection as connections
from events import streams
from events.errors import LogUnavailable, Permanent
from events.moments import moment
from events.vocabulary import catalog, nodes, notices, results
from events.vocabulary.files import FileDeleted, GoneFile
from projectors import verify as verification
from projectors.documents.reader import Reader
from projectors.documents.view import DocumentsView
from projectors.view import StaleView
from tests.conftest import eventually
from tests.test_projectors.running import Log, a_log, point_to, projecting
from tests.test_projectors.tape import a_file, file_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from events.machine.places import Places
    from tests.conftest import LogRecords, NatsServer

pytestmark = pytest.mark.anyio


async def a_life(log: Log) -> None:
    """Something of everything."""
    await log.index(0, 20)
    await log.index(50, 3, node="n2")
    gone = [GoneFile(id=file_id(n), parent="/home", name=a_file(n).name, v=2) for n in (1, 2)]
    await log.say(FileDeleted(files=gone), "n1")
    body = catalog.NodeBody(friendly_name="attic")
    await log.say(nodes.NodeOnline(v=1), "n1")
    await log.say(catalog.NodeConfigured(id="n1", body=body))
    await log.say(nodes.NodeOnline(v=2), "n1")
    await log.say(nodes.NodeStatus(v=1, subsystems=[], files=20, outbox=0), "n1")
    await log.say(nodes.UtilizationMeasured(taken_at=moment(0), filesystems=[]), "n1")
    await log.say(
        catalog.LabelsAssigned(id="x", body=catalog.LabelsBody(file_id="x", labels=["a"]))
    )
    await log.say(catalog.LabelsCleared(id="x"))
    await log.say(notices.NoticeRaised(severity="info", title="t", message="m"), "s", "c")
    await log.say(
        results.AccessRecorded(accesses=[results.Access(file_id="x", at=moment(0))]), "n1"
    )
    await log.say(
        results.AnnotationWritten(annotations=[results.Annotation(file_id="x", data={})]), "n1", "p"
    )
    await log.say(notices.AuditRecorded(action="a", outcome="ok"), "login")
    await log.garbage()


async def verified(log: Log, path: Path) -> dict[str, Any]:
    return [line async for line in verification.verify(log.connection, path)][-1]


@pytest.fixture
async def kept(
    nats_server: NatsServer, machine: Places, our_log: LogRecords
) -> AsyncIterator[tuple[Log, Path]]:
    """A log with a life in it, and the view that a projector made of it."""
    our_log.allow("dead letter")
    point_to(machine, nats_server)
    async with a_log(nats_server) as log:
        await a_life(log)
        async with projecting(machine) as projector:
            await projector.live()
            with Reader(machine.documents_db) as reader:
                notice = "notification::projector::dead_letters"
                await eventually(lambda: reader.document(notice), "the garbage is told of")
        yield log, machine.documents_db


async def test_a_view_that_nobody_touched_is_equal(kept: tuple[Log, Path]) -> None:
    log, path = kept
    found = await verified(log, path)
    assert found["equal"]
    assert found["differences"] == []
    assert found["compared"]["files"] == 23
    assert found["compared"]["documents"] == 8
    assert found["compared"]["dead_letters"] == 1
    assert found["beyond_the_log"] == 0
    assert found["file"] == found["name_index"] == "whole"
    assert list(path.parent.glob("*.tmp*")) == []


async def test_it_tells_how_far_it_is(kept: tuple[Log, Path]) -> None:
    log, path = kept
    lines = [line async for line in verification.verify(log.connection, path)]
    assert lines[0] == {"step": "copy"}
    replays = [line for line in lines if line.get("step") == "replay"]
    assert {line["stream"] for line in replays} >= {"FILES", "CATALOG", "NODES", "NOTICES"}
    assert all(line["at"] <= line["of"] for line in replays)


_PLANTS = {
    "a changed size": "UPDATE files SET size = size + 1 WHERE id = 7",
    "a changed name": "UPDATE files SET name = 'other' WHERE id = 7",
    "a changed time": "UPDATE files SET mtime = mtime - 1 WHERE id = 7",
    "a changed version": "UPDATE files SET version = 9 WHERE id = 7",
    "a deleted file that lives": "UPDATE files SET deleted = NULL WHERE deleted IS NOT NULL",
    "a live file that is deleted": "UPDATE files SET deleted = 1 WHERE id = 7",
    "a file in another folder": """
        INSERT INTO folders (node, path) VALUES (1, '/elsewhere');
        UPDATE files SET folder = last_insert_rowid() WHERE id = 7""",
    "a renamed folder": "UPDATE folders SET path = '/elsewhere' WHERE node = 2",
    "a renamed node": "UPDATE nodes SET node = 'other' WHERE id = 2",
    "another media type": "UPDATE mimes SET mime = 'text/other'",
    "a missing file": "DELETE FROM files WHERE id = 7",
    "an extra file": """
        INSERT INTO files SELECT 99, randomblob(16), 1, folder, 'x', 1, 1, mime, 1, NULL, 99
        FROM files WHERE id = 7""",
    "a changed body": "UPDATE documents SET body = json_set(body, '$.status', 'x') WHERE n > 0",
    "a changed generation": "UPDATE documents SET generation = 9 WHERE type = 'notification'",
    "a missing document": "DELETE FROM documents WHERE type = 'annotation'",
    "an extra document": "INSERT INTO documents VALUES ('x', 'setting', 1, 99, '{}')",
    "a tombstone that lives": "UPDATE documents SET body = '{}' WHERE body IS NULL",
    "a missing dead letter": "DELETE FROM dead_letters",
    "another reason": "UPDATE dead_letters SET reason = 'x'",
    "a forgotten retry": "UPDATE writers SET seen = zeroblob(128) WHERE stream = 'FILES'",
    "a wrong count of files": "UPDATE nodes SET files = files + 1",
    "a wrong count of documents": "UPDATE tallies SET live = live + 1 WHERE type = 'node'",
}


@pytest.mark.parametrize("plant", _PLANTS)
async def test_a_planted_difference_is_found(kept: tuple[Log, Path], plant: str) -> None:
    log, path = kept
    connection = apsw.Connection(str(path))
    connection.execute(_PLANTS[plant])
    assert connection.total_changes() > 0
    connection.close()
    found = await verified(log, path)
    assert not found["equal"]
    assert found["differing_rows"] > 0 or found["name_index"] != "whole"
    assert len(found["differences"]) <= 10


async def test_a_broken_name_index_is_found(kept: tuple[Log, Path]) -> None:
    log, path = kept
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO names (names, rowid, name) VALUES ('delete', 3, 'file 2.txt')")
    connection.close()
    found = await verified(log, path)
    assert not found["equal"]
    assert "does not fit" in found["name_index"]
    assert found["differing_rows"] == 0


async def test_a_broken_index_is_found_although_a_copy_would_mend_it(
    kept: tuple[Log, Path],
) -> None:
    log, path = kept
    connection = apsw.Connection(str(path))
    root = int(
        str(connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'files_inode'").get)
    )
    connection.close()
    with path.resolve().open("r+b") as file:
        # One byte of a number that the index holds, near the end of the page.
        file.seek(root * 4096 - 4)
        byte = file.read(1)[0]
        file.seek(root * 4096 - 4)
        file.write(bytes((byte ^ 1,)))
    with closing(DocumentsView(path)):
        pass  # It looks whole to the check at the start.
    found = await verified(log, path)
    assert not found["equal"]
    assert found["file"] != "whole"
    assert found["differing_rows"] == 0


async def test_what_the_log_has_forgotten_is_counted_apart(kept: tuple[Log, Path]) -> None:
    """As when a node is no more and what it said is purged."""
    log, path = kept
    await log.connection.api("STREAM.PURGE.NODES")
    first = (await streams.heads(log.connection))["NODES"]
    assert first["first_seq"] == first["last_seq"] + 1
    found = await verified(log, path)
    assert found["equal"], found
    assert found["beyond_the_log"] == 2


async def test_a_count_whose_beginning_is_forgotten_is_no_difference(
    nats_server: NatsServer, machine: Places, our_log: LogRecords
) -> None:
    """The last access is there, those before it are not."""
    our_log.allow("stream drift")
    point_to(machine, nats_server)
    access = results.AccessRecorded(accesses=[results.Access(file_id="x", at=moment(0))])
    async with a_log(nats_server) as log:
        # A stream that forgets by number what the declared one forgets by age.
        await log.connection.api("STREAM.DELETE.ACCESS")
        declared = streams.BY_NAME["ACCESS"].config(1)
        await log.connection.api(
            "STREAM.CREATE.ACCESS", {**declared, "max_msgs": 2, "deny_delete": False}
        )
        async with projecting(machine) as projector:
            await projector.live()
            for _ in range(5):
                await projector.reached(await log.say(access, "n1"))
            found = await projector.equal()
            assert found["beyond_the_log"] == 1


async def test_a_node_that_speaks_meanwhile_is_no_difference(kept: tuple[Log, Path]) -> None:
    log, path = kept
    last: dict[str, Any] = {}
    async for last in verification.verify(log.connection, path):
        if last == {"step": "copy"}:
            await log.say(nodes.NodeOnline(v=3), "n1")
            await log.connection.client.publish("mosaic.nodes.=zz.online", b"garbage")
            await log.connection.client.flush()
    assert last["equal"], last


async def test_another_log_is_an_error_and_not_a_difference(kept: tuple[Log, Path]) -> None:
    log, path = kept
    await log.connection.api("STREAM.DELETE.FILES")
    with pytest.raises(StaleView, match="FILES is gone"):
        await verified(log, path)
    assert list(path.parent.glob("*.tmp*")) == []


async def test_the_server_goes_away_in_the_middle(
    kept: tuple[Log, Path],
    nats_server: NatsServer,
    our_log: LogRecords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "API_TIMEOUT_S", 0.5)
    our_log.allow("lost the event log")
    log, path = kept
    with pytest.raises(LogUnavailable):
        async for line in verification.verify(log.connection, path):
            if line["step"] == "replay":
                nats_server.kill()
    assert list(path.parent.glob("*.tmp*")) == []


async def test_a_client_that_hangs_up_ends_it(nats_server: NatsServer, machine: Places) -> None:
    from contextlib import aclosing

    from events.machine import control

    point_to(machine, nats_server)
    async with a_log(nats_server) as log:
        await log.index(0, 20_000, per=100)
        async with projecting(machine) as projector:
            await projector.live()
            async with aclosing(control.follow(projector.socket, {"do": "verify"})) as answers:
                async for answer in answers:
                    if answer["step"] == "replay":
                        break
            await projector.reached(await log.index(20_000))
            views = machine.documents_db.parent
            await eventually(lambda: not list(views.glob("*.tmp*")), "its files are gone")
            await projector.equal()


async def test_an_error_reaches_who_asked(
    nats_server: NatsServer, machine: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(machine, nats_server)
    async with a_log(nats_server) as log:
        await log.index(0, 5)
        async with projecting(machine) as projector:
            await projector.live()

            async def refuse(_: object) -> None:
                raise connections.ApiError({"description": "not today"})

            monkeypatch.setattr(streams, "heads", refuse)
            with pytest.raises(Permanent, match="not today"):
                await projector.do("verify")
