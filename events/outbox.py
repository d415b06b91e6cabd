"""The durable outbox: what was found and is not yet confirmed by the log.

It is two tables in the writer's own SQLite file, so that a finding and its event commit together:
either both survive a loss of power or neither does. Rows leave after the server's confirmation
only. The mount appends here too, which is how it writes without knowing NATS.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from events.codec import MESSAGE_ID, Wire, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from events.moments import Moment
    from events.vocabulary import Event

DDL: Final = """
CREATE TABLE IF NOT EXISTS outbox (
    n       INTEGER PRIMARY KEY AUTOINCREMENT, -- order of publication; never used twice
    subject TEXT NOT NULL,
    headers TEXT NOT NULL,                     -- JSON object, without the message id
    body    BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS writer (
    -- Names this outbox in message ids. A new file has a new name, because its count starts again.
    only INTEGER PRIMARY KEY CHECK (only = 1),
    name TEXT NOT NULL
) STRICT;
"""

_headers = msgspec.json.Decoder(dict[str, str])


class Waiting(NamedTuple):
    """A message in the outbox."""

    n: int
    message: Wire


class Outbox:
    """The outbox of one SQLite file. Callers open the transaction; `add` never commits."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        connection.execute(DDL)
        connection.execute("INSERT OR IGNORE INTO writer VALUES (1, ?)", (secrets.token_hex(6),))
        self.writer = str(connection.execute("SELECT name FROM writer").get)

    def add(self, event: Event, *where: str, time: Moment, actor: str, trace: str = "") -> int:
        """Queue an event, as part of the caller's transaction."""
        message = encode(event, *where, time=time, actor=actor, id="", trace=trace)
        del message.headers[MESSAGE_ID]
        self._connection.execute(
            "INSERT INTO outbox (subject, headers, body) VALUES (?, ?, ?)",
            (message.subject, msgspec.json.encode(message.headers).decode(), message.body),
        )
        return self._connection.last_insert_rowid()

    def waiting(self, limit: int, limit_bytes: int) -> list[Waiting]:
        """The oldest messages: at least one if there is any, within both limits otherwise."""
        taken: list[Waiting] = []
        size = 0
        rows = self._connection.execute(
            "SELECT n, subject, headers, body FROM outbox ORDER BY n LIMIT ?", (limit,)
        )
        for n, subject, headers, body in rows:
            size += len(body)
            if taken and size > limit_bytes:
                break
            # The id is a function of writer and row, hence the same for every attempt to publish.
            identified = {MESSAGE_ID: f"{self.writer}-{n}", **_headers.decode(headers)}
            taken.append(Waiting(n, Wire(subject, identified, body)))
        return taken

    def remove(self, numbers: Sequence[int]) -> None:
        """Forget messages that the log has confirmed."""
        self._connection.executemany("DELETE FROM outbox WHERE n = ?", [(n,) for n in numbers])

    def depth(self) -> int:
        """How many messages wait."""
        return int(self._connection.execute("SELECT count(*) FROM outbox").get)
