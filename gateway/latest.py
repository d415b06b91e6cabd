"""The last message on a subject, straight from the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import nats.errors

from events.codec import MESSAGE_ID, Envelope, decode
from events.errors import LogUnavailable

if TYPE_CHECKING:
    from events.connection import Connection

_TIMEOUT_S: Final = 5.0
_STATUS: Final = "Status"
_SEQUENCE: Final = "Nats-Sequence"
_SUBJECT: Final = "Nats-Subject"


class Latest(NamedTuple):
    """A subject's last event, where it stands, and the message id that its writer gave it."""

    sequence: int
    envelope: Envelope
    message_id: str


async def latest(connection: Connection, stream: str, subject: str) -> Latest | None:
    """The last message on the subject, None if there never was one.

    A direct get, which any replica answers; a replica that is behind makes the append that is
    based on its answer fail with a conflict, never overwrite.
    """
    if not connection.connected:
        raise LogUnavailable("the event log is away")
    try:
        reply = await connection.client.request(
            f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", timeout=_TIMEOUT_S
        )
    except (nats.errors.Error, TimeoutError, ConnectionError) as wrong:
        raise LogUnavailable(f"the event log does not answer for {subject}") from wrong
    headers = dict(reply.headers or {})
    status = headers.get(_STATUS)
    if status == "404":
        return None
    if status is not None or _SEQUENCE not in headers:
        raise LogUnavailable(f"the event log cannot tell {subject}: {status or 'no answer'}")
    envelope = decode(headers[_SUBJECT], headers, reply.data)
    return Latest(int(headers[_SEQUENCE]), envelope, headers.get(MESSAGE_ID, ""))
