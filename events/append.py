"""The only module that writes to a stream.

Every append is confirmed: it returns after the server has stored the message and fsynced it, or it
raises. After `LogUnavailable` nobody knows whether the message is stored; trying again with the
same message id is safe for the server's duplicate window, and the projector dedupes beyond it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import nats.errors

from events.codec import MESSAGE_ID, Wire
from events.connection import ApiError
from events.errors import Conflict, LogRejected, LogUnavailable
from events.streams import BY_AREA

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from events.connection import Connection

EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_BATCH_ID: Final = "Nats-Batch-Id"
_BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
_BATCH_COMMIT: Final = "Nats-Batch-Commit"
_NO_RESPONDERS: Final = "503"
# `NATS/1.0` and the empty line around the headers.
_HEADER_FRAME: Final = 12

_Answer = TypeVar("_Answer")

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
    _check(connection, message.subject, headers, message.body)
    request = connection.client.request(
        message.subject, message.body, timeout=ACK_TIMEOUT_S, headers=headers
    )
    try:
        return _ack((await _confirmed(connection, request, message.subject)).data)
    except Conflict:
        before = await _stored(connection, message, expected_sequence)
        if before is None:
            raise
        return before


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
    # Named by its first message, for a server's log, and by its try: the server may still wait for
    # the rest of the last one.
    batch = f"{messages[0].headers[MESSAGE_ID][:48]}-{secrets.token_hex(4)}"
    wires: list[Wire] = []
    for number, message in enumerate(messages, 1):
        headers = {**message.headers, _BATCH_ID: batch, _BATCH_SEQUENCE: str(number)}
        if expected_sequences and (expected := expected_sequences[number - 1]) is not None:
            headers[EXPECTED] = str(expected)
        if number == len(messages):
            headers[_BATCH_COMMIT] = "1"
        # Before the first is sent, or the server would wait for the rest of a broken batch.
        _check(connection, message.subject, headers, message.body)
        wires.append(Wire(message.subject, headers, message.body))
    subjects = [message.subject for message in messages]
    try:
        return await _confirmed(connection, _send_batch(connection, wires), *subjects)
    except Conflict:
        for message, expected in zip(messages, expected_sequences or (), strict=True):
            if await _stored(connection, message, expected) is not None:
                raise DuplicateInBatch(f"{message.subject} is stored already") from None
        raise


async def _stored(connection: Connection, message: Wire, expected: int | None) -> Ack | None:
    """Where the message stands, if it is what has come behind the expected sequence.

    The server looks at the sequence before the message id, so the repetition of a message whose
    confirmation was lost meets itself as a conflict.
    """
    if expected is None:
        return None
    question = {"seq": expected + 1, "next_by_subj": message.subject}
    stream = BY_AREA[message.subject.split(".")[1]].name
    try:
        found = await connection.api(f"STREAM.MSG.GET.{stream}", question)
    except ApiError:
        return None
    headers = base64.b64decode(found["message"].get("hdrs", "")).split(b"\r\n")
    if f"{MESSAGE_ID}: {message.headers[MESSAGE_ID]}".encode() not in headers:
        return None
    return Ack(stream, int(found["message"]["seq"]), duplicate=True)


async def _send_batch(connection: Connection, wires: Sequence[Wire]) -> Ack:
    client = connection.client
    inbox = client.new_inbox()
    replies: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await client.subscribe(inbox, cb=replies.put)
    try:
        for number, wire in enumerate(wires, 1):
            # Only the first and the last are answered; the server is silent on those between.
            reply = inbox if number in (1, len(wires)) else ""
            await client.publish(wire.subject, wire.body, reply=reply, headers=wire.headers)
        async with asyncio.timeout(ACK_TIMEOUT_S):
            while True:
                answer = await replies.get()
                if answer.data:
                    return _ack(answer.data)
                if (answer.headers or {}).get("Status") == _NO_RESPONDERS:
                    raise nats.errors.NoRespondersError
    finally:
        await _forget(subscription)


async def _confirmed(
    connection: Connection, work: Coroutine[Any, Any, _Answer], *subjects: str
) -> _Answer:
    """What the server answers, or the reason why it never will."""
    try:
        return await connection.answered(work, *subjects)
    except (nats.errors.Error, TimeoutError, ConnectionError) as wrong:
        raise _unconfirmed(subjects[0], wrong) from wrong


def _check(connection: Connection, subject: str, headers: dict[str, str], body: bytes) -> None:
    """Refuse what can be refused without asking the server."""
    if not connection.connected:
        # The client would keep each try in its memory and send them all when it is connected.
        raise LogUnavailable("the event log is away")
    # The server counts the headers too, and hangs up on a message that is too large.
    lines = sum(len(key) + len(value.encode()) + 4 for key, value in headers.items())
    if len(body) + lines + _HEADER_FRAME > connection.client.max_payload:
        raise LogRejected(f"the message for {subject} is larger than the server takes")


async def _forget(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except (nats.errors.Error, ConnectionError):
        # The connection went away and the subscription with it.
        return


def _unconfirmed(subject: str, wrong: Exception) -> Exception:
    if isinstance(wrong, nats.errors.NoRespondersError):
        return LogUnavailable(f"no stream takes {subject}, or the event log is starting")
    if isinstance(wrong, nats.errors.BadSubjectError | nats.errors.BadHeaderError):
        return LogRejected(f"no message can have this subject or these headers: {subject!r}")
    return LogUnavailable(f"no confirmation from the event log for {subject}")


def _ack(reply: bytes) -> Ack:
    answer: dict[str, Any] = json.loads(reply)
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
