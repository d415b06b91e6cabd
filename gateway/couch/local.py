"""`_local` documents: where replicators note how far they are.

They belong to one principal in one database, are never in `_changes`, and live in a SQLite file of
the gateway. Their size is limited; those untouched for long are forgotten, and so is the oldest one
when somebody has too many, because to refuse would stop a replication and to forget only makes it
look at the changes again.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from events.machine.database import errors, open_database, transaction
from gateway.couch.answers import CouchError, bad

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGEST: Final = 64 * 1024
MOST: Final = 500
KEPT_S: Final = 90 * 24 * 3600
_LONGEST_ID: Final = 512
_PRUNE_EVERY_S: Final = 3600

_DDL: Final = """
CREATE TABLE IF NOT EXISTS local (
    db      TEXT NOT NULL,
    owner   TEXT NOT NULL,        -- the principal's name
    id      TEXT NOT NULL,        -- without the `_local/`
    rev     INTEGER NOT NULL,     -- N of `0-N`
    body    TEXT NOT NULL,        -- JSON object without `_id` and `_rev`
    touched INTEGER NOT NULL,     -- seconds since the epoch of the last read or write
    PRIMARY KEY (db, owner, id)
) STRICT, WITHOUT ROWID;
"""


class Local:
    """The store. Every call is short and may come from any thread."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = open_database(path, cache_mib=1)
        path.chmod(0o600)
        with errors(path):
            self._connection.execute(_DDL)
        self._pruned = float("-inf")

    def get(self, db: str, owner: str, id: str) -> dict[str, Any] | None:
        """The document with its `_id` and `_rev`."""
        with self._lock, transaction(self._connection, self._path):
            self._prune()
            row = self._connection.execute(
                "UPDATE local SET touched = ? WHERE db = ? AND owner = ? AND id = ? "
                "RETURNING rev, body",
                (int(self._clock()), db, owner, id),
            ).fetchone()
        if row is None:
            return None
        body: dict[str, Any] = msgspec.json.decode(row[1])
        return {"_id": f"_local/{id}", "_rev": f"0-{row[0]}", **body}

    def put(self, db: str, owner: str, id: str, document: dict[str, Any]) -> str:
        """Write the document over the revision that it names; the new revision."""
        if len(id) > _LONGEST_ID:
            raise bad("the id is too long")
        body = msgspec.json.encode(
            {key: value for key, value in document.items() if not key.startswith("_")}
        ).decode()
        if len(body) > LARGEST:
            raise CouchError(413, "too_large", f"a local document has at most {LARGEST} bytes")
        with self._lock, transaction(self._connection, self._path):
            present = self._present(db, owner, id, document.get("_rev"))
            rev = present + 1
            self._connection.execute(
                "INSERT OR REPLACE INTO local VALUES (?, ?, ?, ?, ?, ?)",
                (db, owner, id, rev, body, int(self._clock())),
            )
            self._connection.execute(
                "DELETE FROM local WHERE owner = ?1 AND (db, id) IN (SELECT db, id FROM local "
                "WHERE owner = ?1 ORDER BY touched DESC, rev DESC LIMIT -1 OFFSET ?2)",
                (owner, MOST),
            )
        return f"0-{rev}"

    def delete(self, db: str, owner: str, id: str, rev: str | None) -> None:
        with self._lock, transaction(self._connection, self._path):
            if not self._present(db, owner, id, rev):
                raise CouchError(404, "not_found", "missing")
            self._connection.execute(
                "DELETE FROM local WHERE db = ? AND owner = ? AND id = ?", (db, owner, id)
            )

    def _present(self, db: str, owner: str, id: str, rev: object) -> int:
        """The present revision's number, 0 if there is none; a conflict if it is not the named."""
        row = self._connection.execute(
            "SELECT rev FROM local WHERE db = ? AND owner = ? AND id = ?", (db, owner, id)
        ).fetchone()
        present = 0 if row is None else int(row[0])
        # A document that was forgotten meanwhile may be written again with its old revision.
        if present and rev != f"0-{present}":
            raise CouchError(409, "conflict", "Document update conflict.")
        return present

    def _prune(self) -> None:
        now = self._clock()
        if now - self._pruned >= _PRUNE_EVERY_S:
            self._pruned = now
            oldest = int(now - KEPT_S)
            self._connection.execute("DELETE FROM local WHERE touched < ?", (oldest,))

    def close(self) -> None:
        self._connection.close()
