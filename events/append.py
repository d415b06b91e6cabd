"""The only module that writes to a stream.

Every append is confirmed: it returns after the server has stored the message and fsynced it, or it
raises. After `LogUnavailable` nobody knows whether the message is stored; trying again with the
same message id is safe for the server's duplicate window, and the projector dedupes beyond it.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import nats.errors

from events.codec import MESSAGE_ID, Wire
from events.errors import Conflict, LogRejected, LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from events.connection import Connection

EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_BATCH_ID: Final = "Nats-Batch-Id"
_BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
_BATCH_COMMIT: Final = "Nats-Batch-Commit"

ACK_TIMEOUT_S: Final = 10.0
# The server takes at most 1,000 messages in one atomic batch.
BATCH_LIMIT: Final = 1000

_WRONG_SEQUENCE: Final = frozenset({10071, 10164})
_DUPLICATE_IN_BATCH: Final = 10201
# Raft without a leader, a store that cannot write now, too many batches: passes by itself.
_PASSING: Final = frozenset({10008, 10023, 10077, 10074, 10047, 10176, 10199, 10207, 10210, 10211})


class Ack(NamedTuple):
    """Where a message is stored. `duplicate`: it already was."""

    stream: str
    sequence: int
    duplicate: bool = False


class DuplicateInBatch(LogRejected):
    """An atomic batch held a message that is stored already; nothing of it was stored."""


async def append(
    connection: Connection, message: Wire, *, expected_sequence: int | None = None
) -> Ack:
    """Store one message.

    With `expected_sequence` the subject's last message must have that sequence (0: none), or
    `Conflict` is raised and nothing is stored.
    """
    headers = message.headers
    if expected_sequence is not None:
        headers = {**headers, EXPECTED: str(expected_sequence)}
    connection.denied = None
    try:
        reply = await connection.client.request(
            message.subject, message.body, timeout=ACK_TIMEOUT_S, headers=headers
        )
    except (nats.errors.Error, TimeoutError, ConnectionError) as wrong:
        raise _unconfirmed(connection, message.subject, wrong) from wrong
    return _ack(json.loads(reply.data))


async def append_atomic(
    connection: Connection,
    messages: Sequence[Wire],
    *,
    expected_sequences: Sequence[int | None] | None = None,
) -> Ack:
    """Store all messages, in order and without a gap, or none; they must be of one stream.

    The answer is the last message's. Message ids that are stored already refuse the whole batch
    with `DuplicateInBatch`: the caller then knows that an earlier try had come through.
    """
    if len(messages) == 1:
        expected = expected_sequences[0] if expected_sequences else None
        return await append(connection, messages[0], expected_sequence=expected)
    if not 0 < len(messages) <= BATCH_LIMIT:
        raise ValueError(f"an atomic batch holds 1 to {BATCH_LIMIT} messages")
    client = connection.client
    inbox = client.new_inbox()
    replies: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await client.subscribe(inbox, cb=replies.put)
    connection.denied = None
    try:
        # The batch is named by its first message, so a retry is recognisable in a server's log.
        batch = messages[0].headers[MESSAGE_ID][:64]
        last = len(messages)
        for number, message in enumerate(messages, 1):
            headers = {**message.headers, _BATCH_ID: batch, _BATCH_SEQUENCE: str(number)}
            if expected_sequences and (expected := expected_sequences[number - 1]) is not None:
                headers[EXPECTED] = str(expected)
            if number == last:
                headers[_BATCH_COMMIT] = "1"
            # Only the first and the last are answered; the server is silent on those between.
            reply = inbox if number in (1, last) else ""
            await client.publish(message.subject, message.body, reply=reply, headers=headers)
        async with asyncio.timeout(ACK_TIMEOUT_S):
            while True:
                answer = (await replies.get()).data
                if answer:
                    return _ack(json.loads(answer))
    except (nats.errors.Error, TimeoutError, ConnectionError) as wrong:
        raise _unconfirmed(connection, messages[0].subject, wrong) from wrong
    finally:
        await _forget(subscription)


async def _forget(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except (nats.errors.Error, ConnectionError):
        # The connection went away and the subscription with it.
        return


def _unconfirmed(connection: Connection, subject: str, wrong: Exception) -> Exception:
    if connection.denied is not None:
        return LogRejected(f"this key may not publish on {subject}: {connection.denied}")
    if isinstance(wrong, nats.errors.NoRespondersError):
        return LogUnavailable(f"no stream takes {subject}, or the event log is starting")
    if isinstance(wrong, nats.errors.MaxPayloadError):
        return LogRejected(f"the message for {subject} is larger than the server takes")
    return LogUnavailable(f"no confirmation from the event log for {subject}")


def _ack(answer: dict[str, Any]) -> Ack:
    error = answer.get("error")
    if error is None:
        return Ack(answer["stream"], answer["seq"], bool(answer.get("duplicate")))
    code = int(error.get("err_code", 0))
    text = str(error.get("description", error))
    if code in _WRONG_SEQUENCE:
        raise Conflict(f"the document was changed meanwhile ({text})")
    if code == _DUPLICATE_IN_BATCH:
        raise DuplicateInBatch(text)
    if code in _PASSING or int(error.get("code", 0)) == 503:
        raise LogUnavailable(text)
    raise LogRejected(text)
