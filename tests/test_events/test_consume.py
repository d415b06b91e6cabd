"""The one way out of the log: in order, without gap or repetition, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from events import consume, streams
from events.append import append, append_atomic
from events.codec import decode
from events.connection import ApiError
from events.consume import Follower, Gap, Message, _Pull, read
from events.errors import LogUnavailable, Poison
from tests.conftest import connected, eventually
from tests.test_events.messages import indexed, raw_publish, setting, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from events.connection import Connection
    from tests.conftest import LogRecords, NatsServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Connection]:
    async with connected(nats_server.url) as made:
        await streams.ensure(made)
        yield made


@pytest.fixture
def quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life every 100 ms, the least that the server does; a silence lasts 600 ms."""
    monkeypatch.setattr(consume, "_IDLE_HEARTBEAT_S", 0.2)
    request = json.loads(consume._REQUEST) | {"idle_heartbeat": 100_000_000}
    monkeypatch.setattr(consume, "_REQUEST", json.dumps(request).encode())


async def fill(connection: Connection, first: int, last: int, *, size: int = 0) -> None:
    """File events whose ids are their sequences."""
    for start in range(first, last + 1, 200):
        end = min(start + 199, last)
        await append_atomic(
            connection, [indexed(number, size=size) for number in range(start, end + 1)]
        )


class Following:
    """What a follower has brought so far."""

    def __init__(self, connection: Connection, *, after: int = 0, limit: int = 64) -> None:
        self.follower = Follower(
            connection, "FILES", "test", description="a test reads the files", limit=limit
        )
        self.after = after
        self.messages: list[Message] = []
        self.batches: list[int] = []

    @property
    def sequences(self) -> list[int]:
        return [message.sequence for message in self.messages]

    async def run(self) -> None:
        async with aclosing(self.follower.batches(self.after)) as batches:
            async for batch in batches:
                self.messages += batch
                self.batches.append(len(batch))
                await self.follower.confirm(batch[-1])

    async def reach(self, sequence: int) -> None:
        await eventually(
            lambda: bool(self.messages) and self.messages[-1].sequence >= sequence,
            f"message {sequence} was read",
        )


@asynccontextmanager
async def following(
    connection: Connection, *, after: int = 0, limit: int = 64
) -> AsyncIterator[Following]:
    made = Following(connection, after=after, limit=limit)
    task = asyncio.create_task(made.run())
    try:
        yield made
        assert not task.done() or task.result()
    finally:
        task.cancel()
        await asyncio.wait((task,))


# Following


async def test_a_follower_reads_what_is_there_and_what_comes(connection: Connection) -> None:
    await fill(connection, 1, 1500)
    async with following(connection) as found:
        await found.reach(1500)
        await fill(connection, 1501, 1600)
        await found.reach(1600)
    assert found.sequences == list(range(1, 1601))
    assert max(found.batches) <= 64
    first, last = found.messages[0], found.messages[-1]
    assert (first.stream, first.subject) == ("FILES", "mosaic.files.n.indexed")
    assert last.pending == 0
    assert first.stored_ns < last.stored_ns
    assert decode(first.subject, first.headers, first.body).id == "t-1"


@pytest.mark.parametrize(("after", "limit"), [(0, 1), (7, 3), (10, 64)])
async def test_a_follower_starts_behind_its_checkpoint(
    connection: Connection, after: int, limit: int
) -> None:
    await fill(connection, 1, 12)
    async with following(connection, after=after, limit=limit) as found:
        await found.reach(12)
    assert found.sequences == list(range(after + 1, 13))
    assert max(found.batches) <= limit


async def test_whoever_watches_the_server_sees_how_far_a_follower_is(
    connection: Connection,
) -> None:
    await fill(connection, 1, 100)

    async def confirmed() -> bool:
        info = await connection.api("CONSUMER.INFO.FILES.test")
        assert info["config"]["description"] == "a test reads the files"
        return bool(info["ack_floor"]["stream_seq"] == 100)

    async with following(connection) as found:
        await found.reach(100)
        await eventually(confirmed, "the ack floor is there")


async def test_more_than_the_byte_limit_of_a_request(connection: Connection) -> None:
    """Messages near 1 MB, and twice what both open requests may bring together."""
    for number in range(1, 37):
        await append(connection, indexed(number, size=1_000_000))
    async with following(connection) as found:
        await found.reach(36)
    assert found.sequences == list(range(1, 37))
    assert all(len(message.body) > 1_000_000 for message in found.messages)


async def test_a_server_killed_in_midstream_costs_nothing(
    connection: Connection, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("lost the event log")
    await fill(connection, 1, 4000)
    async with following(connection, limit=10) as found:
        for share in (1, 1500, 3000):
            await found.reach(share)
            before = found.messages[-1].sequence
            nats_server.kill()
            nats_server.start()
            assert before < 4000, "the server was killed too late to prove anything"
        await found.reach(4000)
        await fill(connection, 4001, 4100)
        await found.reach(4100)
    assert found.sequences == list(range(1, 4101))


async def test_a_server_killed_in_a_silence_is_followed_again_at_once(
    connection: Connection, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("lost the event log")
    await fill(connection, 1, 3)
    async with following(connection) as found:
        await found.reach(3)
        nats_server.kill()
        await eventually(lambda: not connection.connected, "the loss is noticed")
        nats_server.start()
        await connection.available()
        await fill(connection, 4, 6)
        # Not only after three missed heartbeats.
        async with asyncio.timeout(2 * consume._IDLE_HEARTBEAT_S):
            await found.reach(6)
    assert found.sequences == [1, 2, 3, 4, 5, 6]


async def test_a_connection_that_is_cut_costs_nothing(
    connection: Connection, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("lost the event log")
    async with connected(nats_server.url) as writer, following(connection, limit=10) as found:
        for cut in range(1, 6):
            await fill(writer, 300 * cut - 299, 300 * cut)
            await found.reach(300 * cut - 200)
            await connection.client.force_reconnect()
        await found.reach(1500)
    assert found.sequences == list(range(1, 1501))


@pytest.mark.usefixtures("quick_heartbeats")
@pytest.mark.parametrize("share", [1, 500, 1000])
async def test_a_consumer_deleted_under_its_reader_is_made_again(
    connection: Connection, share: int
) -> None:
    await fill(connection, 1, 1000)
    async with following(connection, limit=10) as found:
        await found.reach(share)
        await connection.api("CONSUMER.DELETE.FILES.test")
        await fill(connection, 1001, 1010)
        await found.reach(1010)
    assert found.sequences == list(range(1, 1011))


@pytest.mark.usefixtures("quick_heartbeats")
async def test_two_readers_of_one_name_disturb_each_other_and_lose_nothing(
    connection: Connection, nats_server: NatsServer
) -> None:
    """It is a mistake to start two, and must not be a mistake that loses events."""
    await fill(connection, 1, 3000)
    async with (
        connected(nats_server.url) as other_connection,
        following(connection, limit=7) as one,
        following(other_connection, after=1000, limit=7) as other,
    ):
        await eventually(lambda: one.messages and other.messages, "both read")
        await one.reach(1500)
        await other.reach(2500)
        assert one.sequences == list(range(1, 1 + len(one.messages)))
        assert other.sequences == list(range(1001, 1001 + len(other.messages)))


async def test_a_slow_reader_loses_nothing(connection: Connection) -> None:
    """The caller takes its time; nobody sends more than the open requests asked for."""
    await fill(connection, 1, 3000, size=2000)
    follower = Follower(connection, "FILES", "test", description="slow", limit=50)
    read_so_far: list[int] = []
    async with aclosing(follower.batches(0)) as batches:
        async for batch in batches:
            read_so_far += [message.sequence for message in batch]
            # As long as it takes until nothing more comes: the client's buffers are as full as
            # they get.
            waiting = -1
            subs = connection.client._subs.values()
            while waiting != (waiting := sum(sub._pending_queue.qsize() for sub in subs)):
                await connection.client.flush()
            if read_so_far[-1] == 3000:
                break
    assert read_so_far == list(range(1, 3001))


async def test_a_follower_ends_by_cancellation_and_leaves_no_subscription(
    connection: Connection,
) -> None:
    await fill(connection, 1, 5)
    before = len(connection.client._subs)
    async with following(connection) as found:
        await found.reach(5)
        assert len(connection.client._subs) > before
    # The one for replies to requests stays.
    assert len(connection.client._subs) == before


async def test_a_stream_that_is_not_there_yet_is_waited_for(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        async with following(connection) as found:
            await eventually(
                lambda: nats_server.running and _no_stream(connection), "there is none"
            )
            await streams.ensure(connection)
            await fill(connection, 1, 3)
            await found.reach(3)
        assert found.sequences == [1, 2, 3]


async def _no_stream(connection: Connection) -> bool:
    with pytest.raises(ApiError):
        await connection.api("STREAM.INFO.FILES")
    return True


# Messages of people who mean ill

HOSTILE = [
    # A status, by header and by its own line: the reader must not take it for the server's.
    (b"mosaic.files.n.indexed", b"NATS/1.0\r\nStatus: 100\r\n\r\n", b""),
    (b"mosaic.files.n.indexed", b"NATS/1.0 100 Idle Heartbeat\r\n\r\n", b""),
    (b"mosaic.files.n.indexed", b"NATS/1.0 409 Consumer Deleted\r\n\r\n", b""),
    (b"mosaic.files.n.indexed", b"NATS/1.0 404\r\nNats-Pending-Messages: 99999\r\n\r\n", b""),
    (b"mosaic.files.n.indexed", b"NATS/1.0 503\r\n\r\n", b""),
    # Bytes that are no text.
    (b"mosaic.files.\xff.indexed", b"NATS/1.0\r\nA: b\r\n\r\n", b"{}"),
    (b"mosaic.files.n.indexed", b"NATS/1.0\r\nMosaic-Type: \xff\xfe\r\n\r\n", b"{}"),
    (b"mosaic.files.n.indexed", b"NATS/1.0\r\n\xff\xfe: x\r\n\r\n", b"{}"),
    (b"mosaic.files.n.indexed", b"NATS/1.0 \xff\xff\xff \xff\r\n\r\n", b"{}"),
    # Headers that are none.
    (b"mosaic.files.n.indexed", None, b""),
    (b"mosaic.files.n.indexed", None, b"\x00" * 100),
    (b"mosaic.files.n.indexed", b"NATS/1.0\r\n\r\n", b"{}"),
    (b"mosaic.files.n.indexed", b"NATS/1.0\r\nno colon\r\n:\r\n: x\r\n\r\n", b"{}"),
    (b"mosaic.files.n.indexed", b"NATS/1.0", b"{}"),
    (b"mosaic.files.n.indexed", b"", b"{}"),
    (b"mosaic.files.n.indexed", b"\r\n", b"{}"),
    (
        b"mosaic.files.n.indexed",
        b"NATS/1.0\r\nMosaic-Type: file.indexed\r\nMosaic-Type: node.online\r\n\r\n",
        b"{}",
    ),
    # Outside the grammar, inside the stream.
    (b"mosaic.files.n", b"NATS/1.0\r\nA: b\r\n\r\n", b"{}"),
    (b"mosaic.files.n.indexed.more", b"NATS/1.0\r\nA: b\r\n\r\n", b"{}"),
]


@pytest.mark.parametrize(("subject", "headers", "body"), HOSTILE)
async def test_garbage_in_the_stream_does_not_stop_the_line(
    connection: Connection,
    nats_server: NatsServer,
    subject: bytes,
    headers: bytes | None,
    body: bytes,
) -> None:
    await append(connection, indexed(1))
    raw_publish(nats_server, subject, headers, body)

    async def taken() -> bool:
        return await stored(connection, "FILES") == 2

    await eventually(taken, "the server took it")
    await append(connection, indexed(3))
    async with following(connection) as found:
        async with asyncio.timeout(5):
            await found.reach(3)
    assert found.sequences == [1, 2, 3]
    with pytest.raises(Poison):
        decode(*found.messages[1][2:5])
    again = [message.sequence async for batch in read(connection, "FILES") for message in batch]
    assert again == [1, 2, 3]


# What a pull request may be answered


@pytest.fixture
async def pull(connection: Connection) -> AsyncIterator[_Pull]:
    await fill(connection, 1, 20)
    await connection.api(
        "CONSUMER.CREATE.FILES.c.mosaic.files.>",
        {
            "stream_name": "FILES",
            "config": {"name": "c", "filter_subject": "mosaic.files.>", "ack_policy": "none"},
        },
    )
    async with _Pull(connection, "FILES", "c", 5, after=0, dense=True) as made:
        # Once this is answered, the server knows of the inbox. (nats-py's `flush` passes by what
        # still waits to be sent.)
        await connection.api("INFO")
        yield made


async def drain(pull: _Pull) -> None:
    """Gather until it raises."""
    while True:
        await pull.gather()


@pytest.mark.parametrize(
    "status",
    [
        "400 Bad Request",
        "409 Consumer Deleted",
        "409 Consumer is push based",
        "409 Exceeded MaxWaiting",
        "409 Exceeded MaxRequestBatch of 10",
        "409 Leadership Change",
        "409 Server Shutdown",
        "409 Something New\r\nNats-Pending-Messages: nonsense",
        "409 Consumer Paused\r\nNats-Pending-Messages: 3",
        "423 Nats-Wrong-Pin-Id",
        "503",
        "999 Unheard Of",
    ],
)
async def test_whatever_ends_a_consumer_starts_the_reading_again(
    pull: _Pull, nats_server: NatsServer, status: str
) -> None:
    raw_publish(nats_server, pull._inbox.encode(), f"NATS/1.0 {status}\r\n\r\n".encode(), b"")
    with pytest.raises(LogUnavailable):
        await asyncio.wait_for(drain(pull), 5)


@pytest.mark.parametrize(
    "status",
    [
        "404 No Messages",
        "408 Request Timeout",
        "409 Message Size Exceeds MaxBytes",
        "409 Batch Completed",
        "409 Leadership Change",
    ],
)
async def test_a_request_that_ends_early_is_replaced(
    pull: _Pull, nats_server: NatsServer, status: str, connection: Connection
) -> None:
    for _ in range(3):
        raw_publish(
            nats_server,
            pull._inbox.encode(),
            f"NATS/1.0 {status}\r\nNats-Pending-Messages: 256\r\n\r\n".encode(),
            b"",
        )
    draining = asyncio.create_task(drain(pull))

    async def replaced() -> bool:
        info = await connection.api("CONSUMER.INFO.FILES.c")
        return bool(info["num_waiting"] == 5 and pull._sequence == 20)

    # Each of the three was believed, and another asked for in its place.
    await eventually(replaced, "there are three more requests")
    draining.cancel()
    await asyncio.wait((draining,))


async def test_strangers_in_the_inbox_are_no_messages(pull: _Pull, nats_server: NatsServer) -> None:
    raw_publish(nats_server, pull._inbox.encode(), None, b"hello")
    with pytest.raises(LogUnavailable):
        await asyncio.wait_for(drain(pull), 5)


async def test_a_message_that_another_took_is_a_gap(pull: _Pull, connection: Connection) -> None:
    other = await connection.client.subscribe(connection.client.new_inbox())
    await connection.client.publish(
        "$JS.API.CONSUMER.MSG.NEXT.FILES.c", b'{"batch":1}', reply=other.subject
    )
    assert (await other.next_msg(5)).reply.startswith("$JS.ACK")
    with pytest.raises(Gap, match="expected delivery 1, got 2"):
        await pull.gather()


async def test_a_lost_tail_is_noticed_by_the_heartbeat(
    pull: _Pull, nats_server: NatsServer
) -> None:
    """No later message would show that it is missing."""
    for _ in range(4):
        await pull.gather()
    raw_publish(
        nats_server,
        pull._inbox.encode(),
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 21\r\nNats-Last-Stream: 21\r\n\r\n",
        b"",
    )
    with pytest.raises(Gap, match="21 were delivered, 20 arrived"):
        await pull.gather()


@pytest.mark.usefixtures("quick_heartbeats")
async def test_real_heartbeats_are_no_gap(connection: Connection) -> None:
    await fill(connection, 1, 3)
    async with following(connection) as found:
        await found.reach(3)
        info = await connection.api("CONSUMER.INFO.FILES.test")
        # Nothing but heartbeats, for longer than a silent server would be borne with.
        heard = connection.client.stats["in_msgs"]
        await eventually(lambda: connection.client.stats["in_msgs"] >= heard + 20, "20 came")
        await fill(connection, 4, 4)
        await found.reach(4)
        again = await connection.api("CONSUMER.INFO.FILES.test")
        assert again["created"] == info["created"], "it was read on, not started again"


@pytest.mark.usefixtures("quick_heartbeats")
async def test_a_server_that_holds_still_is_noticed(
    connection: Connection, nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "events")
    await fill(connection, 1, 3)
    async with following(connection) as found:
        await found.reach(3)
        nats_server.pause()
        await eventually(lambda: "no heartbeat" in caplog.text, "the silence is noticed")
        nats_server.resume()
        await fill(connection, 4, 6)
        await found.reach(6)
    assert found.sequences == [1, 2, 3, 4, 5, 6]


# Reading what is there


async def replay(connection: Connection, stream: str, **limits: object) -> list[int]:
    return [
        message.sequence
        async for batch in read(connection, stream, **limits)  # type: ignore[arg-type]  # as given
        for message in batch
    ]


async def test_a_replay_ends_where_the_stream_ended_when_it_began(connection: Connection) -> None:
    await fill(connection, 1, 1000)
    found: list[int] = []
    async for batch in read(connection, "FILES"):
        if not found:
            await fill(connection, 1001, 1100)
        found += [message.sequence for message in batch]
    assert found == list(range(1, 1001))


@pytest.mark.parametrize(
    ("after", "upto", "expected"),
    [
        (0, 5, range(1, 6)),
        (3, 5, range(4, 6)),
        (3, 3, range(0)),
        (5, 3, range(0)),
        (0, 10, range(1, 11)),
        (0, 99, range(1, 11)),
        (10, None, range(0)),
        (10, 99, range(0)),
        (99, None, range(0)),
    ],
)
async def test_a_replay_has_two_ends(
    connection: Connection, after: int, upto: int | None, expected: range
) -> None:
    await fill(connection, 1, 10)
    assert await replay(connection, "FILES", after=after, upto=upto) == list(expected)


async def test_a_replay_of_one_nodes_subjects(connection: Connection) -> None:
    for number in range(1, 11):
        await append(connection, indexed(number, node="odd" if number % 2 else "even"))
    assert await replay(connection, "FILES", subject="mosaic.files.odd.>") == [1, 3, 5, 7, 9]
    assert await replay(connection, "FILES", subject="mosaic.files.even.>", upto=7) == [2, 4, 6]
    assert await replay(connection, "FILES", subject="mosaic.files.none.>") == []
    # The only matches lie behind the end.
    assert await replay(connection, "FILES", subject="mosaic.files.even.>", upto=1) == []


async def test_an_empty_stream_has_nothing(connection: Connection) -> None:
    assert await replay(connection, "FILES") == []
    assert await replay(connection, "NODES", upto=10) == []


@pytest.mark.parametrize("deleted", [(10,), (9, 10), (1, 2), (5,), range(1, 11), range(1, 10)])
async def test_a_replay_of_a_stream_with_deleted_messages(
    connection: Connection, deleted: tuple[int, ...]
) -> None:
    """NODES: what is left are the last messages, and the last of all may be gone too."""
    for number in range(1, 11):
        message = indexed(number)._replace(subject=f"mosaic.nodes.n{number}.online")
        await append(connection, message)
    for sequence in deleted:
        await connection.api("STREAM.MSG.DELETE.NODES", {"seq": sequence})
    async with asyncio.timeout(5):
        found = await replay(connection, "NODES")
    assert found == [number for number in range(1, 11) if number not in deleted]


async def test_a_replay_of_the_last_of_each_subject(connection: Connection) -> None:
    for number in range(1, 31):
        message = indexed(number)._replace(subject=f"mosaic.nodes.n{number % 3}.online")
        await append(connection, message)
    assert await replay(connection, "NODES") == [28, 29, 30]


async def test_a_replay_leaves_nothing_on_the_server(connection: Connection) -> None:
    await fill(connection, 1, 600)
    assert len(await replay(connection, "FILES")) == 600
    async with aclosing(read(connection, "FILES")) as batches:
        async for _ in batches:
            break
    assert not (await connection.api("CONSUMER.NAMES.FILES"))["consumers"]


async def test_a_replay_names_its_reader(connection: Connection) -> None:
    await fill(connection, 1, 600)
    async with aclosing(read(connection, "FILES", reader="verify")) as batches:
        async for _ in batches:
            names = (await connection.api("CONSUMER.NAMES.FILES"))["consumers"]
            assert [name.partition("-")[0] for name in names] == ["verify"]
            break


async def test_there_is_no_half_replay(
    connection: Connection, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.allow("lost the event log")
    await fill(connection, 1, 2000)
    found: list[int] = []

    async def replay_and_kill() -> None:
        async for batch in read(connection, "FILES"):
            found.extend(message.sequence for message in batch)
            if nats_server.running:
                nats_server.kill()

    with pytest.raises(LogUnavailable):
        await replay_and_kill()
    assert len(found) < 2000
    assert found == list(range(1, len(found) + 1))


@pytest.mark.usefixtures("quick_heartbeats")
async def test_a_replay_of_messages_that_are_taken_away_meanwhile_ends(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were announced and never come: an error, not a wait for ever."""
    request = json.loads(consume._REQUEST) | {"batch": 1}
    monkeypatch.setattr(consume, "_REQUEST", json.dumps(request).encode())
    monkeypatch.setattr(consume, "_PULL_MESSAGES", 1)
    for number in range(1, 11):
        await append(connection, indexed(number)._replace(subject=f"mosaic.nodes.n{number}.online"))

    async def replay_and_purge() -> None:
        async for _ in read(connection, "NODES"):
            await connection.api("STREAM.PURGE.NODES")

    with pytest.raises(LogUnavailable, match="did not come"):
        await asyncio.wait_for(replay_and_purge(), 5)


async def test_a_replay_of_no_stream_is_an_error(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        with pytest.raises(ApiError, match="stream not found"):
            await replay(connection, "FILES")


async def test_a_replay_brings_what_was_appended(connection: Connection) -> None:
    wire = setting("a", {"deep": [1, None, "é"]}, "w-1")
    await append(connection, wire)
    async for batch in read(connection, "CATALOG"):
        for message in batch:
            assert message.subject == wire.subject
            assert message.headers == wire.headers
            assert message.body == wire.body
