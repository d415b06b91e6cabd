"""The agent's memory: every file it knows, and what it has not yet told the log.

One SQLite file holds both, so that a finding and its event commit together. Each thread that works
with it has its own `State`; SQLite keeps their transactions apart.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agent import schema
from events.machine import database
from events.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import apsw

# (name, size, mtime, ino): a plain tuple, because a crawl makes one for every file on the disk and
# compares them as a set with what SQLite hands out.
Sighting = tuple[str, int, int, int]

# The columns of a `Row`.
ROW: Final = "id, uuid, inode, folder, name, size, mtime, ino, v, deleted"


class Row(NamedTuple):
    """A row of `files`."""

    id: int
    uuid: bytes
    inode: int
    folder: int
    name: str
    size: int
    mtime: int
    ino: int
    v: int
    deleted: int


class Folder(NamedTuple):
    """A row of `folders`."""

    id: int
    path: str
    dev: int
    mount: bool


class Change(NamedTuple):
    """New values for a row of `files`, in the order of the statement."""

    folder: int
    name: str
    size: int
    mtime: int
    ino: int
    v: int
    deleted: int
    id: int


class State:
    """One thread's connection to agent.db. Only the indexing thread writes folders and files."""

    def __init__(self, path: Path, *, cache_mib: int = 16) -> None:
        self.path = path
        self.connection = database.open_database(path, sync="FULL", cache_mib=cache_mib)
        with database.errors(path):
            self.connection.execute(schema.DDL)
            if self.get("restoring") is None:
                self.connection.execute(schema.ONE_PER_PLACE)
            self.outbox = Outbox(self.connection)

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the body, or nothing of it."""
        with database.transaction(self.connection, self.path):
            yield

    def all(self, query: str, bindings: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        with database.errors(self.path):
            return self.connection.execute(query, bindings).fetchall()

    def value(self, query: str, bindings: Sequence[Any] = ()) -> apsw.SQLiteValue:
        """The first value of the first row, or None."""
        with database.errors(self.path):
            found: apsw.SQLiteValue = self.connection.execute(query, bindings).get
            return found

    def _number(self, query: str) -> int:
        found = self.value(query)
        assert isinstance(found, int)
        return found

    # --- meta ---

    def get(self, key: str) -> str | None:
        text = self.value("SELECT value FROM meta WHERE key = ?", (key,))
        return None if text is None else str(text)

    def set(self, key: str, value: str) -> None:
        """Part of the caller's transaction, or one of its own."""
        with database.errors(self.path):
            self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def unset(self, key: str) -> None:
        with database.errors(self.path):
            self.connection.execute("DELETE FROM meta WHERE key = ?", (key,))

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with the prefix, without it."""
        rows = self.all(
            "SELECT key FROM meta WHERE key >= ? AND key < ?", (prefix, prefix + "\x7f")
        )
        return [str(key).removeprefix(prefix) for (key,) in rows]

    def count_up(self, document: str) -> int:
        """The next `v` of a node document; part of the caller's transaction."""
        v = int(self.get(f"v:{document}") or 0) + 1
        self.set(f"v:{document}", str(v))
        return v

    # --- folders ---

    def folder(self, path: str) -> Folder | None:
        rows = self.all("SELECT id, path, dev, mount FROM folders WHERE path = ?", (path,))
        return Folder(rows[0][0], path, rows[0][2], bool(rows[0][3])) if rows else None

    def folders(self, below: str = "/") -> Iterator[Folder]:
        """All known folders at or below a path."""
        query = "SELECT id, path, dev, mount FROM folders"
        bindings: tuple[str, ...] = ()
        if below != "/":
            # '0' follows '/' in byte order, so this is the whole subtree, from the index.
            query += " WHERE path = ? OR (path > ? AND path < ?)"
            bindings = (below, below + "/", below + "0")
        with database.errors(self.path):
            for id, path, dev, mount in self.connection.execute(query, bindings):
                yield Folder(id, path, dev, bool(mount))

    def last_folder(self) -> int:
        return self._number("SELECT coalesce(max(id), 0) FROM folders")

    def put_folders(self, folders: Iterable[Folder]) -> None:
        self.connection.executemany(
            "INSERT INTO folders VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
            "SET dev = excluded.dev, mount = excluded.mount",
            folders,
        )

    # --- files ---

    def count(self) -> int:
        """How many files are there."""
        return self._number("SELECT count(*) FROM files WHERE deleted = 0")

    def is_empty(self) -> bool:
        """Whether nothing was ever looked at."""
        return self.value("SELECT 1 FROM folders LIMIT 1") is None

    def last_file(self) -> int:
        return self._number("SELECT coalesce(max(id), 0) FROM files")

    def sightings(self, folder: int, limit: int) -> list[Sighting]:
        """The living files of a folder, as a crawl sees them; at most `limit`."""
        return self.all(
            "SELECT name, size, mtime, ino FROM files WHERE folder = ? AND deleted = 0 LIMIT ?",
            (folder, limit),
        )

    def version(self) -> int:
        """Changes with every commit of another connection, and with no other."""
        return self._number("PRAGMA data_version")

    def living(self, folder: int, names: Iterable[str]) -> dict[str, Row]:
        """The living files of a folder with these names."""
        with database.errors(self.path):
            cursor = self.connection.executemany(
                f"SELECT {ROW} FROM files WHERE folder = ? AND name = ? AND deleted = 0",
                ((folder, name) for name in names),
            )
            return {row[4]: Row(*row) for row in cursor}

    def living_ids(self, folder: int, after: int = 0, limit: int = -1) -> list[int]:
        """The ids of a folder's living files behind an id, in order."""
        return [
            row[0]
            for row in self.all(
                "SELECT id FROM files WHERE folder = ? AND deleted = 0 AND id > ? "
                "ORDER BY id LIMIT ?",
                (folder, after, limit),
            )
        ]

    def row(self, id: int) -> Row:
        return Row(*self.all(f"SELECT {ROW} FROM files WHERE id = ?", (id,))[0])

    def same_inode(self, ino: int, size: int, mtime: int, limit: int) -> list[tuple[Row, Folder]]:
        """Files, living or not, that may be the one with this inode number, with their folders."""
        return [
            (Row(*row[:10]), Folder(row[3], row[10], row[11], bool(row[12])))
            for row in self.all(
                "SELECT f.id, f.uuid, f.inode, f.folder, f.name, f.size, f.mtime, f.ino, f.v, "
                "f.deleted, d.path, d.dev, d.mount FROM files f JOIN folders d ON d.id = f.folder "
                "WHERE f.ino = ? AND f.size = ? AND f.mtime = ? ORDER BY f.deleted, f.id LIMIT ?",
                (ino, size, mtime, limit),
            )
        ]

    def deleted_at(self, folder: int, name: str) -> Row | None:
        """The file that was deleted last at a place."""
        rows = self.all(
            f"SELECT {ROW} FROM files WHERE folder = ? AND name = ? AND deleted <> 0 "
            "ORDER BY deleted DESC, id DESC LIMIT 1",
            (folder, name),
        )
        return Row(*rows[0]) if rows else None

    def insert(self, rows: Iterable[tuple[bytes, int, int, str, int, int, int]]) -> None:
        """New files: uuid, inode, folder, name, size, mtime, ino."""
        self.connection.executemany(
            "INSERT INTO files (uuid, inode, folder, name, size, mtime, ino, v, deleted) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, 1, 0)",
            rows,
        )

    def update(self, changes: Iterable[Change]) -> None:
        self.connection.executemany(
            "UPDATE files SET folder = ?, name = ?, size = ?, mtime = ?, ino = ?, v = ?, "
            "deleted = ? WHERE id = ?",
            changes,
        )
