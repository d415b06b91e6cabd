"""FILES into rows: the one fold that has to be fast.

A record holds when its `v` is above the row's; that alone makes redelivery and replay harmless. A
node may speak of its own files only: a record for another node's file changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from events import ids, mime
from events.errors import Poison
from events.moments import unix_ms
from events.vocabulary.files import (
    File,
    FileChanged,
    FileDeleted,
    FileIndexed,
    FileRenamed,
    FileRestored,
)

if TYPE_CHECKING:
    import apsw

    from events.codec import Envelope

# The foreign-node guard compares through the folder, which knows its node.
_UPSERT: Final = """
INSERT INTO files (uuid, inode, folder, name, size, mtime, mime, version, deleted, n)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, ?9)
ON CONFLICT (uuid) DO UPDATE SET
    inode = excluded.inode, folder = excluded.folder, name = excluded.name,
    size = excluded.size, mtime = excluded.mtime, mime = excluded.mime,
    version = excluded.version, deleted = NULL, n = excluded.n
WHERE excluded.version > version
  AND (SELECT node FROM folders WHERE id = files.folder) = ?10
"""
_DELETE: Final = """
UPDATE files SET deleted = ?1, version = ?2, n = ?3
WHERE uuid = ?4 AND version < ?2 AND (SELECT node FROM folders WHERE id = files.folder) = ?5
"""

# Too many are harmless: a name that did not change is taken out of the index and put back.
_OLD_NAME: Final = """
INSERT OR IGNORE INTO renamed
SELECT id, name FROM files WHERE uuid = ? AND name IS NOT ? AND version < ?
"""

FileEvent = FileIndexed | FileChanged | FileRenamed | FileRestored | FileDeleted


class FileRows(NamedTuple):
    """A checked batch: what was found with its media type, and what is gone and when."""

    node: str
    found: list[tuple[bytes, File, str]]
    gone: list[tuple[bytes, int, int]]

    def docs(self) -> list[str]:
        """The documents that the batch speaks of."""
        uuids = [row[0] for row in self.found] + [row[0] for row in self.gone]
        return [ids.file_doc(ids.file_id_text(uuid)) for uuid in uuids]


class FilesFold:
    """Applies file events: `prepare` is pure, `write` belongs to the caller's transaction."""

    # Folders change slowly within a crawl; beyond this many the cache starts again.
    _CACHE: Final = 20_000

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._nodes: dict[str, int] = {}
        self._folders: dict[tuple[int, str], int] = {}
        self._mimes: dict[str, int] = {}
        # Every row up to this id is in the name index; at every commit, these are all.
        self._named = self._highest()
        # The highest row of the running transaction. Rows are never removed, so ids have no holes
        # and a difference of ids is a count.
        self._last = self._named

    def _highest(self) -> int:
        return int(self._connection.execute("SELECT ifnull(max(id), 0) FROM files").get)

    def index_names(self) -> None:
        """Bring the name index up to date; the last write of a transaction."""
        if self._connection.execute("SELECT EXISTS (SELECT 1 FROM renamed)").get:
            self._connection.execute(
                """INSERT INTO names (names, rowid, name)
                       SELECT 'delete', id, name FROM renamed WHERE id <= ?1;
                   INSERT INTO names (rowid, name)
                       SELECT id, name FROM files
                       WHERE id IN (SELECT id FROM renamed) AND id <= ?1;
                   DELETE FROM renamed""",
                (self._named, self._named),
            )
        if self._last > self._named:
            self._connection.execute(
                "INSERT INTO names (rowid, name) SELECT id, name FROM files WHERE id > ?",
                (self._named,),
            )

    def committed(self) -> None:
        """The transaction that called `index_names` is durable."""
        self._named = self._last

    def forget(self) -> None:
        """Drop what was interned in a transaction that did not commit."""
        self._last = self._named
        self._nodes.clear()
        self._folders.clear()
        self._mimes.clear()

    def prepare(self, event: FileEvent, envelope: Envelope) -> FileRows:
        """Everything about a batch that can be wrong is found here, before anything is written."""
        node = envelope.address.token("node")
        if isinstance(event, FileDeleted):
            at = unix_ms(envelope.time)
            gone = [(ids.file_id_bytes(each.id), each.v, at) for each in event.files]
            return FileRows(node, [], gone)
        rows = []
        for file in event.files:
            name, parent = file.name, file.parent
            if not parent.startswith("/") or not name or "/" in name or "\0" in name + parent:
                raise Poison(f"no such place can be: {parent!r} {name!r}")
            rows.append((ids.file_id_bytes(file.id), file, mime.of_name(name)))
        return FileRows(node, rows, [])

    def write(self, rows: FileRows, n: int) -> None:
        """Write a prepared batch inside the caller's transaction; changes are numbered from n."""
        node = self._node(rows.node)
        if rows.gone:
            self._connection.executemany(
                _DELETE,
                [(at, v, n + i, uuid, node) for i, (uuid, v, at) in enumerate(rows.gone)],
            )
        # A first version cannot rename anything, and almost every file of a crawl is one.
        again = [(uuid, file.name, file.v) for uuid, file, _ in rows.found if file.v > 1]
        if again:
            self._connection.executemany(_OLD_NAME, again)
        self._connection.executemany(
            _UPSERT,
            [
                (
                    uuid,
                    file.inode,
                    self._folder(node, file.parent),
                    file.name,
                    file.size,
                    file.mtime,
                    self._mime(mime_type),
                    file.v,
                    n + i,
                    node,
                )
                for i, (uuid, file, mime_type) in enumerate(rows.found)
            ],
        )
        self._count(node)

    def _count(self, node: int) -> None:
        """Note how many rows the node has gained, and where they stand."""
        last = self._highest()
        if last > self._last:
            self._connection.execute(
                """UPDATE nodes SET files = files + ?1, first = ifnull(first, ?2), last = ?3
                   WHERE id = ?4""",
                (last - self._last, self._last + 1, last, node),
            )
            self._last = last

    def _node(self, node: str) -> int:
        if node not in self._nodes:
            self._connection.execute("INSERT OR IGNORE INTO nodes (node) VALUES (?)", (node,))
            self._nodes[node] = self._connection.execute(
                "SELECT id FROM nodes WHERE node = ?", (node,)
            ).get
        return self._nodes[node]

    def _folder(self, node: int, path: str) -> int:
        found = self._folders.get((node, path))
        if found is None:
            if len(self._folders) >= self._CACHE:
                self._folders.clear()
            row = self._connection.execute(
                "SELECT id FROM folders WHERE node = ? AND path = ?", (node, path)
            ).get
            if row is None:
                self._connection.execute(
                    "INSERT INTO folders (node, path) VALUES (?, ?)", (node, path)
                )
                row = self._connection.last_insert_rowid()
            found = self._folders[node, path] = int(row)
        return found

    def _mime(self, name: str) -> int:
        if name not in self._mimes:
            self._connection.execute("INSERT OR IGNORE INTO mimes (mime) VALUES (?)", (name,))
            self._mimes[name] = self._connection.execute(
                "SELECT id FROM mimes WHERE mime = ?", (name,)
            ).get
        return self._mimes[name]
