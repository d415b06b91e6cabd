"""Tokens that were given up before their time, remembered until they would have expired."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from events.machine.database import errors, open_database, transaction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Revoked:
    """A set of token ids on disk and in memory. A revocation that returned survives a crash."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._clock = clock
        self._connection = open_database(path, sync="FULL", cache_mib=1)
        path.chmod(0o600)
        with errors(path):
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS revoked ("
                "jti TEXT PRIMARY KEY, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID"
            )
        self._prune()

    def _prune(self) -> None:
        with transaction(self._connection, self._path):
            self._connection.execute("DELETE FROM revoked WHERE expires <= ?", (self._clock(),))
        rows = self._connection.execute("SELECT jti FROM revoked").fetchall()
        self._ids = {str(jti) for (jti,) in rows}

    def add(self, jti: str, expires: int) -> None:
        """Revoke a token; older entries that have expired are forgotten meanwhile."""
        with transaction(self._connection, self._path):
            self._connection.execute("INSERT OR IGNORE INTO revoked VALUES (?, ?)", (jti, expires))
        self._prune()

    def __contains__(self, jti: str) -> bool:
        return jti in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def close(self) -> None:
        self._connection.close()
