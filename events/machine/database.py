"""SQLite as MosaicFS uses it: one way to open, one way to write, errors that say what to do.

apsw and not the `sqlite3` of Python: it carries its own, recent SQLite, so that a view made on one
machine opens on every other, and its error classes tell a full disk from a broken file.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal

import apsw

from events.errors import Permanent, Temporary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class DiskFull(Temporary):
    """No room to write. The transaction was rolled back whole."""


class DatabaseBusy(Temporary):
    """Another process held the write lock for too long."""


class DatabaseFailed(Temporary):
    """The disk under the database does not answer as it should."""


class DatabaseCorrupt(Permanent):
    """The file is not a whole database any more."""


def open_database(
    path: Path, *, sync: Literal["FULL", "NORMAL"] = "NORMAL", cache_mib: int = 16
) -> apsw.Connection:
    """A connection that may write, in WAL mode.

    `FULL` fsyncs every commit, for what exists nowhere else (the outbox). `NORMAL` may lose the
    last commits with the power, but never consistency: enough for a view, which remembers in the
    same transaction how far it had read.
    """
    with errors(path):
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(10_000)
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={sync}",
            f"cache_size={-1024 * cache_mib}",
            "temp_store=MEMORY",
            "journal_size_limit=67108864",
        ):
            connection.pragma(*pragma.split("="))
        return connection


def open_reader(path: Path) -> apsw.Connection:
    """A connection that can only read; raises FileNotFoundError when there is no database yet."""
    if not path.exists():
        raise FileNotFoundError(path)
    with errors(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        # Read-write at the file so that a reader may make the WAL index, read-only by pragma.
        connection.set_busy_timeout(5_000)
        connection.pragma("query_only", 1)
        connection.pragma("mmap_size", 268_435_456)
        return connection


@contextlib.contextmanager
def transaction(connection: apsw.Connection, path: Path) -> Iterator[None]:
    """One write transaction: all of the body, or nothing of it."""
    with errors(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            # SQLite may have rolled back by itself, as it does when the disk is full.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextlib.contextmanager
def errors(path: Path) -> Iterator[None]:
    """apsw's errors as ours."""
    try:
        yield
    except apsw.FullError as wrong:
        raise DiskFull(f"no room left for {path}: free some space on that disk") from wrong
    except (apsw.CorruptError, apsw.NotADBError) as wrong:
        raise DatabaseCorrupt(f"{path} is damaged: {wrong}") from wrong
    except (apsw.BusyError, apsw.LockedError) as wrong:
        raise DatabaseBusy(f"{path} is locked by another process") from wrong
    except (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as wrong:
        raise DatabaseFailed(f"{path}: {wrong}") from wrong
