"""The one way into the log: confirmed, refused, or not known and safe to repeat."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from events import append as appending
from events import decide, streams
from events.append import BATCH_LIMIT, DuplicateInBatch, append, append_atomic
from events.connection import make_seed
from events.consume import read
from events.errors import Conflict, LogRejected, LogUnavailable
from tests.conftest import connected, eventually
from tests.test_events.messages import indexed, let_in, setting, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from events.connection import Connection
    from tests.conftest import LogRecords, NatsServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Connection]:
    async with connected(nats_server.url) as made:
        await streams.ensure(made)
        yield made


async def ids(connection: Connection, stream: str = "CATALOG") -> list[str]:
    """The message ids that a stream holds, in its order."""
    return [
        (message.headers or {})["Nats-Msg-Id"]
        async for batch in read(connection, stream)
        for message in batch
    ]


# One message


async def test_a_message_is_confirmed_with_its_place(connection: Connection) -> None:
    assert await append(connection, setting("a", 1, "w-1")) == ("CATALOG", 1, False)
    assert await append(connection, setting("b", 1, "w-2")) == ("CATALOG", 2, False)
    assert await append(connection, indexed(1)) == ("FILES", 1, False)


async def test_the_same_id_again_is_a_duplicate_and_stores_nothing(connection: Connection) -> None:
    first = await append(connection, setting("a", 1, "w-1"))
    assert await append(connection, setting("a", 1, "w-1")) == (*first[:2], True)
    assert await stored(connection, "CATALOG") == 1


async def test_a_wrong_expected_sequence_is_a_conflict(connection: Connection) -> None:
    first = await append(connection, setting("a", 1, "w-1"), expected_sequence=0)
    await append(connection, setting("b", 1, "w-2"), expected_sequence=0)
    for wrong in (0, 2, 99):
        with pytest.raises(Conflict) as refused:
            await append(connection, setting("a", 2, f"w-{10 + wrong}"), expected_sequence=wrong)
        assert refused.value.code == "conflict"
    assert await stored(connection, "CATALOG") == 2
    await append(connection, setting("a", 2, "w-3"), expected_sequence=first.sequence)


async def test_a_retry_of_what_is_stored_is_no_conflict(connection: Connection) -> None:
    await append(connection, setting("a", 1, "w-1"), expected_sequence=0)
    again = await append(connection, setting("a", 1, "w-1"), expected_sequence=0)
    assert again == ("CATALOG", 1, True)
    # Not even when somebody else has changed the document since.
    await append(connection, setting("a", 2, "w-2"), expected_sequence=1)
    again = await append(connection, setting("a", 1, "w-1"), expected_sequence=0)
    assert again == ("CATALOG", 1, True)
    assert await ids(connection) == ["w-1", "w-2"]


async def test_a_retry_of_a_batch_that_is_stored_says_so(connection: Connection) -> None:
    batch = [setting(f"k{number}", 1, f"w-{number}") for number in range(3)]
    expected = [None, 0, 0]
    await append_atomic(connection, batch, expected_sequences=expected)
    await append(connection, setting("k1", 2, "w-9"))
    with pytest.raises(DuplicateInBatch):
        await append_atomic(connection, batch, expected_sequences=expected)
    assert await stored(connection, "CATALOG") == 4


async def test_two_editors_of_one_document_and_one_wins(connection: Connection) -> None:
    edits = [
        append(connection, setting("a", number, f"w-{number}"), expected_sequence=0)
        for number in range(20)
    ]
    outcomes = await asyncio.gather(*edits, return_exceptions=True)
    assert sum(isinstance(each, appending.Ack) for each in outcomes) == 1
    assert sum(isinstance(each, Conflict) for each in outcomes) == 19
    assert await stored(connection, "CATALOG") == 1


@pytest.mark.parametrize("size", [1_000_000, 1_048_400, 1_048_577, 3_000_000])
async def test_the_size_limit_is_the_servers_and_harms_nobody(
    connection: Connection, size: int, our_log: LogRecords
) -> None:
    """The server counts the headers, and hangs up on one byte too many."""
    message = indexed(1, size=size)
    if size == 1_000_000:
        assert (await append(connection, message)).sequence == 1
    else:
        with pytest.raises(LogRejected, match="larger than the server takes"):
            await append(connection, message)
        with pytest.raises(LogRejected, match="larger than the server takes"):
            await append_atomic(connection, [indexed(2), message])
    assert connection.connected
    assert (await append(connection, indexed(3))).stream == "FILES"
    assert our_log.records == []


async def test_the_largest_message_of_all_goes_through(connection: Connection) -> None:
    """What is let through is accepted, to the byte."""
    size, rejected = 1_048_000, 0
    while rejected < 3:
        try:
            await append(connection, indexed(size, size=size))
        except LogRejected:
            rejected += 1
        size += 16
    assert size < 1_048_576
    assert connection.connected


async def test_no_stream_is_temporary(connection: Connection) -> None:
    with pytest.raises(LogUnavailable, match=r"no stream takes elsewhere\.x"):
        await append(connection, setting("a", 1, "w-1")._replace(subject="elsewhere.x"))
    with pytest.raises(LogUnavailable, match="no stream takes"):
        await append_atomic(
            connection, [setting("a", 1, f"w-{n}")._replace(subject="elsewhere.x") for n in (1, 2)]
        )


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB x 0", "mosaic.files.\t"])
async def test_a_subject_that_cannot_be_is_rejected(connection: Connection, subject: str) -> None:
    with pytest.raises(LogRejected):
        await append(connection, setting("a", 1, "w-1")._replace(subject=subject))


async def test_what_the_stream_does_not_take_is_rejected_with_the_servers_reason(
    connection: Connection,
) -> None:
    await connection.api(
        "STREAM.CREATE.SMALL", {"name": "SMALL", "subjects": ["small"], "max_msg_size": 100}
    )
    with pytest.raises(LogRejected, match="size exceeds"):
        await append(connection, indexed(1, size=1000)._replace(subject="small"))


# Rights


async def test_a_key_that_may_not_publish_there_is_rejected_at_once(
    connection: Connection, nats_server: NatsServer, our_log: LogRecords, tmp_path: Path
) -> None:
    our_log.allow("lost the event log|refuses this key")
    node = make_seed(tmp_path / "node.nk")
    let_in(
        nats_server,
        f'{{ nkey: {node}, permissions: {{ publish: "mosaic.files.n.>", subscribe: ">" }} }}',
    )
    nats_server.reload()
    async with connected(nats_server.url, seed=tmp_path / "node.nk") as restricted:
        with pytest.raises(LogRejected, match=r"may not publish on mosaic\.files\.other\.indexed"):
            await asyncio.wait_for(append(restricted, indexed(1, node="other")), 5)
        with pytest.raises(LogRejected, match=r"mosaic\.files\.other\.indexed"):
            await asyncio.wait_for(
                append_atomic(restricted, [indexed(2), indexed(3, node="other")]), 5
            )
        # The refusal of one is not held against another that is on its way.
        refused, fine = await asyncio.gather(
            append(restricted, indexed(4, node="other")),
            append(restricted, indexed(5)),
            return_exceptions=True,
        )
        assert isinstance(refused, LogRejected)
        assert fine == ("FILES", 1, False)


# Atomic batches


async def test_a_batch_is_stored_whole_in_order_and_without_a_gap(connection: Connection) -> None:
    await append(connection, setting("before", 1, "w-0"))
    batch = [setting(f"k{number}", number, f"w-{number}") for number in range(1, 6)]
    assert await append_atomic(connection, batch) == ("CATALOG", 6, False)
    assert await ids(connection) == [f"w-{number}" for number in range(6)]


async def test_a_batch_as_large_as_a_batch_may_be(connection: Connection) -> None:
    assert decide.MOST_EVENTS == BATCH_LIMIT
    batch = [setting(f"k{number}", number, f"w-{number}") for number in range(BATCH_LIMIT)]
    assert (await append_atomic(connection, batch)).sequence == BATCH_LIMIT
    for wrong in ([], [*batch, batch[0]]):
        with pytest.raises(ValueError, match="1 to 1000"):
            await append_atomic(connection, wrong)


@pytest.mark.parametrize("wrong", [0, 1, 2])
async def test_one_wrong_expected_sequence_refuses_the_batch(
    connection: Connection, wrong: int
) -> None:
    held = await append(connection, setting("k1", 0, "w-0"))
    batch = [setting(f"k{number}", 1, f"w-{10 + number}") for number in range(3)]
    right: list[int | None] = [0, held.sequence, None]
    expected = [77 if number == wrong else each for number, each in enumerate(right)]
    with pytest.raises(Conflict):
        await append_atomic(connection, batch, expected_sequences=expected)
    assert await stored(connection, "CATALOG") == 1
    await append_atomic(connection, batch, expected_sequences=right)
    assert await stored(connection, "CATALOG") == 4


async def test_a_stored_message_refuses_the_batch_it_is_in(connection: Connection) -> None:
    await append(connection, setting("k1", 1, "w-1"))
    batch = [setting(f"k{number}", 1, f"w-{number}") for number in range(3)]
    with pytest.raises(DuplicateInBatch):
        await append_atomic(connection, batch)
    assert await ids(connection) == ["w-1"]


async def test_a_batch_of_one_is_a_message(connection: Connection) -> None:
    one = [setting("a", 1, "w-1")]
    assert await append_atomic(connection, one, expected_sequences=[0]) == ("CATALOG", 1, False)
    assert (await append_atomic(connection, one)).duplicate
    with pytest.raises(Conflict):
        await append_atomic(connection, [setting("a", 2, "w-2")], expected_sequences=[0])


async def test_batches_side_by_side_do_not_mix(connection: Connection) -> None:
    batches = [
        [setting(f"b{batch}.{number}", 1, f"b{batch}-{number}") for number in range(20)]
        for batch in range(10)
    ]
    await asyncio.gather(*(append_atomic(connection, batch) for batch in batches))
    found = await ids(connection)
    blocks = [found[at : at + 20] for at in range(0, 200, 20)]
    assert sorted(blocks) == sorted(
        [f"b{batch}-{number}" for number in range(20)] for batch in range(10)
    )


async def test_a_batch_for_two_streams_is_refused_whole(connection: Connection) -> None:
    with pytest.raises((LogRejected, LogUnavailable)):
        await append_atomic(connection, [setting("a", 1, "w-1"), indexed(1)])
    assert await stored(connection, "CATALOG") == await stored(connection, "FILES") == 0


async def test_a_batch_that_was_left_in_its_middle_can_be_sent_again(
    connection: Connection, nats_server: NatsServer
) -> None:
    """As a writer does whose connection broke; the server waits for the rest of it meanwhile."""
    batch = [setting(f"k{number}", 1, f"w-{number}") for number in range(5)]
    async with connected(nats_server.url) as other:
        for number, message in enumerate(batch[:3], 1):
            headers = {
                **message.headers,
                "Nats-Batch-Id": "w-0",
                "Nats-Batch-Sequence": str(number),
            }
            await other.client.publish(message.subject, message.body, headers=headers)
        await other.client.flush()
    assert (await append_atomic(connection, batch)).sequence == 5
    assert await ids(connection) == [f"w-{number}" for number in range(5)]


# A server that goes away


async def test_a_dead_server_is_unavailable_and_a_retry_stores_once(
    connection: Connection, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("lost the event log")
    await append(connection, setting("a", 1, "w-1"))
    nats_server.kill()
    with pytest.raises(LogUnavailable):
        await asyncio.wait_for(append(connection, setting("b", 1, "w-2")), 5)
    await eventually(lambda: not connection.connected, "the loss is noticed")
    # At once, and nothing is kept to be sent behind the caller's back.
    for work in (
        append(connection, setting("b", 1, "w-2")),
        append_atomic(connection, [setting("b", 1, "w-2"), setting("c", 1, "w-3")]),
    ):
        with pytest.raises(LogUnavailable):
            await asyncio.wait_for(work, 0.5)
    nats_server.start()
    await connection.available()
    # Whether the first try came through or not.
    await append(connection, setting("b", 1, "w-2"))
    await append(connection, setting("b", 1, "w-2"))
    assert await ids(connection) == ["w-1", "w-2"]


@pytest.mark.parametrize("messages", [1, 40])
async def test_whatever_was_confirmed_when_the_server_was_killed_is_stored_once(
    connection: Connection, nats_server: NatsServer, our_log: LogRecords, messages: int
) -> None:
    """Killed while a writer writes; the writer repeats what was not confirmed."""
    our_log.expect("lost the event log")
    confirmed: list[str] = []
    failures = 0

    async def write() -> None:
        nonlocal failures
        for block in range(60):
            batch = [
                setting(f"k{block}.{number}", 1, f"w-{block:02}.{number:02}")
                for number in range(messages)
            ]
            while True:
                try:
                    await append_atomic(connection, batch)
                except LogUnavailable:
                    failures += 1
                    await connection.available()
                    continue
                except DuplicateInBatch:
                    # The try before came through whole, or not at all.
                    pass
                confirmed.extend(message.headers["Nats-Msg-Id"] for message in batch)
                break

    writing = asyncio.create_task(write())
    for share in (10, 30):
        enough = share * messages
        await eventually(lambda: len(confirmed) >= enough, "some are written")  # awaited here
        nats_server.kill()
        nats_server.start()
    await asyncio.wait_for(writing, 30)
    assert failures >= 2
    assert await ids(connection) == confirmed
    assert len(confirmed) == 60 * messages


async def test_a_server_that_holds_still_is_unavailable_in_time(
    connection: Connection, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "ACK_TIMEOUT_S", 0.2)
    nats_server.pause()
    for messages in ([setting("a", 1, "w-1")], [setting("b", 1, "w-2"), setting("c", 1, "w-3")]):
        with pytest.raises(LogUnavailable, match="no confirmation"):
            await append_atomic(connection, messages)
    nats_server.resume()
    await eventually(lambda: _settled(connection), "the late ones are stored")
    await append(connection, setting("a", 1, "w-1"))
    assert sorted(await ids(connection)) == ["w-1", "w-2", "w-3"]


async def _settled(connection: Connection) -> bool:
    return await stored(connection, "CATALOG") == 3


async def test_a_cancelled_append_leaves_nothing_running(
    connection: Connection, nats_server: NatsServer
) -> None:
    before = asyncio.all_tasks()
    nats_server.pause()
    for messages in ([setting("a", 1, "w-1")], [setting("b", 1, "w-2"), setting("c", 1, "w-3")]):
        task = asyncio.create_task(append_atomic(connection, messages))
        await asyncio.wait((task,), timeout=0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert asyncio.all_tasks() <= before
    nats_server.resume()
