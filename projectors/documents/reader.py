"""Reading the document view: the queries behind the CLI, the gateway and the mount.

A reader never writes and never waits for the writer (WAL). One reader belongs to one thread.
Results are as of the last commit; `Reader.transaction` holds one moment over several calls.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from events.errors import Temporary
from events.ids import FileId, file_doc, file_id_bytes, file_id_text
from events.machine.database import errors, open_reader
from events.moments import moment
from events.paths import join, split
from projectors.documents import revisions, tokens
from projectors.documents.tokens import Position, Vector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import apsw

_body = msgspec.json.Decoder(dict[str, Any])

_FILE = """
SELECT f.uuid, o.node, f.inode, d.path, f.name, f.size, f.mtime, m.mime, f.version, f.deleted, f.n
FROM files f JOIN folders d ON d.id = f.folder JOIN nodes o ON o.id = d.node
JOIN mimes m ON m.id = f.mime
"""


class NoView(Temporary):
    """There is no view on this machine yet."""


class FileRow(NamedTuple):
    """A file as the view has it. `mtime` in nanoseconds, `deleted_at` in milliseconds or None."""

    id: FileId
    node: str
    inode: int
    parent: str
    name: str
    size: int
    mtime: int
    mime: str
    v: int
    deleted_at: int | None
    n: int

    @property
    def path(self) -> str:
        return join(self.parent, self.name)

    @property
    def generation(self) -> int:
        return self.v

    def document(self) -> dict[str, Any]:
        """The file as a CouchDB document."""
        doc = file_doc(self.id)
        body: dict[str, Any] = {
            "_id": doc,
            "_rev": revisions.revision(doc, self.generation),
            "type": "file",
            "file_id": self.id,
            "inode": self.inode,
            "name": self.name,
            "source": {
                "node_id": self.node,
                "export_path": self.path,
                "export_parent": self.parent,
            },
            "size": self.size,
            "mtime": moment(self.mtime // 1_000_000),
            "mtime_ns": str(self.mtime),
            "mime_type": self.mime,
            "status": "active" if self.deleted_at is None else "deleted",
        }
        if self.deleted_at is not None:
            body["deleted_at"] = moment(self.deleted_at)
        return body


class Changed(NamedTuple):
    """A document whose last change lies behind a position, and the position after it."""

    doc: str
    generation: int
    deleted: bool
    after: Vector


class DeadLetter(NamedTuple):
    """A message that was put aside; `at` is when the stream stored it."""

    stream: str
    sequence: int
    subject: str
    reason: str
    at: str


class Reader:
    """A connection to the view. Use as a context manager or call `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = open_reader(path)
        except FileNotFoundError:
            raise NoView("there is no view yet: start `mosaicfs up`") from None
        self._connection.create_scalar_function("glob_fold", _fold_case, 1, deterministic=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything read inside is of one moment."""
        with errors(self._path):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def _rows(self, query: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        with errors(self._path):
            return self._connection.execute(query, bindings).fetchall()

    def _files(self, where: str, bindings: tuple[Any, ...]) -> list[FileRow]:
        return [
            FileRow(file_id_text(row[0]), *row[1:]) for row in self._rows(_FILE + where, bindings)
        ]

    # Files

    def file(self, file: str) -> FileRow | None:
        """The file with this id, deleted or not."""
        try:
            raw = file_id_bytes(file)
        except ValueError:
            return None
        return next(iter(self._files("WHERE f.uuid = ?", (raw,))), None)

    def file_with_inode(self, inode: int) -> FileRow | None:
        """The file with this inode, deleted or not."""
        return next(iter(self._files("WHERE f.inode = ?", (inode,))), None)

    def file_at(self, node: str | None, path: str) -> FileRow | None:
        """The file at a path of a node (of any node if None); a live one before a deleted one."""
        parent, name = split(path)
        found = self._files(
            """WHERE d.path = ?1 AND f.name = ?2 AND (?3 IS NULL OR o.node = ?3)
               ORDER BY f.deleted IS NOT NULL, f.deleted DESC, f.id LIMIT 1""",
            (parent, name, node),
        )
        return found[0] if found else None

    def files(
        self,
        node: str | None = None,
        parent: str | None = None,
        *,
        below: str | None = None,
        after: FileId | None = None,
        limit: int = 100,
        deleted: bool = False,
    ) -> list[FileRow]:
        """Files in order of their id, a page behind `after`.

        `parent` takes the files of one folder, `below` those of a folder and all under it.
        """
        prefix = None if below is None else below.rstrip("/") + "/"
        return self._files(
            """WHERE (?1 IS NULL OR o.node = ?1) AND (?2 IS NULL OR d.path = ?2)
               AND (?3 IS NULL OR d.path = ?4 OR (d.path >= ?3 AND d.path < ?5))
               AND (?6 IS NULL OR f.uuid > ?6) AND (?7 OR f.deleted IS NULL)
               ORDER BY f.uuid LIMIT ?8""",
            (
                node,
                parent,
                prefix,
                None if prefix is None else prefix[:-1] or "/",
                None if prefix is None else prefix[:-1] + "0",
                None if after is None else file_id_bytes(after),
                deleted,
                limit,
            ),
        )

    def search(
        self, text: str, *, limit: int = 50, node: str | None = None, deleted: bool = False
    ) -> list[FileRow]:
        """Files whose name holds the text, or fits it as a glob if it has `*` or `?`.

        Case does not matter. Any name is found, whatever characters it and the text hold.
        """
        if not text:
            return []
        globbed = any(mark in text for mark in "*?")
        parts = [part for part in _literals(text, globbed) if len(part) >= 3]
        pattern = text if globbed else f"*{text}*"
        checked = _glob_escape(_fold_case(pattern))
        conditions = "glob_fold(f.name) GLOB ?2 AND (?3 IS NULL OR o.node = ?3)"
        if not deleted:
            conditions += " AND f.deleted IS NULL"
        if parts:
            query = " AND ".join('"' + part.replace('"', '""') + '"' for part in parts)
            # Walks the matches and stops at the limit; an IN (…) would gather them all first.
            where = (
                f"JOIN names ON names.rowid = f.id WHERE names MATCH ?1 AND {conditions} LIMIT ?4"
            )
            return self._files(where, (query, checked, node, limit))
        return self._files(
            f"WHERE ?1 IS NULL AND {conditions} LIMIT ?4", (None, checked, node, limit)
        )

    # Documents

    def document(self, doc: str) -> dict[str, Any] | None:
        """A document of any type as CouchDB would give it; None if it is not there or removed."""
        if doc.startswith("file::"):
            file = self.file(doc.removeprefix("file::"))
            return file.document() if file else None
        rows = self._rows("SELECT type, generation, body FROM documents WHERE doc = ?", (doc,))
        if not rows or rows[0][2] is None:
            return None
        type_, generation, body = rows[0]
        return _document(doc, type_, generation, body)

    def documents(
        self, type_: str, *, after: str = "", limit: int = 1_000_000
    ) -> list[dict[str, Any]]:
        """The documents of a type (every type but `file`), in order of their id."""
        rows = self._rows(
            """SELECT doc, type, generation, body FROM documents
               WHERE type = ? AND doc > ? AND body IS NOT NULL ORDER BY doc LIMIT ?""",
            (type_, after, limit),
        )
        return [_document(*row) for row in rows]

    def nodes(self) -> list[dict[str, Any]]:
        """The node documents."""
        return self.documents("node")

    # Positions

    def checkpoints(self) -> dict[str, int]:
        """Each stream and the sequence up to which it is in the view."""
        return dict(self._rows("SELECT stream, sequence FROM checkpoints"))

    def sequence(self) -> str:
        """The token for all that is in the view now."""
        return tokens.encode({name: Position(at) for name, at in self.checkpoints().items()})

    def changes(self, since: Vector, *, limit: int = 1000) -> list[Changed]:
        """Documents whose last change lies behind a position of the log, in this view's order."""
        start = self._first_behind(since)
        if start is None:
            return []
        rows = (
            self._rows(
                """SELECT c.n, c.doc, c.generation, c.gone, a.n, a.stream, a.sequence FROM (
                   SELECT n, doc, generation, body IS NULL AS gone FROM documents WHERE n >= ?1
                   UNION ALL
                   SELECT n, uuid, version, 0 FROM files WHERE n >= ?1
               ) c JOIN applied a ON a.n = (SELECT max(n) FROM applied WHERE n <= c.n)
               ORDER BY c.n""",
                (start,),
            )
            if limit
            else []
        )
        vector = dict(since)
        found: list[Changed] = []
        for n, doc, generation, gone, first, stream, sequence in rows:
            reached = Position(sequence - 1, n - first + 1)
            if reached <= vector.get(stream, Position(0)):
                continue
            vector[stream] = reached
            name = doc if isinstance(doc, str) else file_doc(file_id_text(doc))
            found.append(Changed(name, generation, bool(gone), dict(vector)))
            if len(found) >= limit:
                break
        return found

    def _first_behind(self, since: Vector) -> int | None:
        """The lowest change number that can lie behind a vector."""
        starts = []
        for stream in self.checkpoints():
            position = since.get(stream, Position(0))
            rows = self._rows(
                """SELECT n FROM applied WHERE stream = ? AND sequence > ?
                   ORDER BY sequence LIMIT 1""",
                (stream, position.sequence),
            )
            starts += [row[0] for row in rows]
        return min(starts, default=None)

    # The state of the view itself

    def epoch(self) -> str:
        """Names this build of the view; a rebuilt one has another."""
        return str(self._rows("SELECT value FROM meta WHERE key = 'epoch'")[0][0])

    def counts(self) -> dict[str, int]:
        """How many live files, deleted files, documents and dead letters there are."""
        files, gone = self._rows("SELECT count(*), count(deleted) FROM files")[0]
        documents = self._rows("SELECT count(*) FROM documents WHERE body IS NOT NULL")[0][0]
        dead = self._rows("SELECT count(*) FROM dead_letters")[0][0]
        return {
            "files": files - gone,
            "deleted_files": gone,
            "documents": files + documents,
            "dead_letters": dead,
        }

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """The messages that were put aside, newest first."""
        rows = self._rows(
            """SELECT stream, sequence, subject, reason, at FROM dead_letters
               ORDER BY at DESC, stream, sequence LIMIT ?""",
            (limit,),
        )
        return [DeadLetter(*row) for row in rows]


def _document(doc: str, type_: str, generation: int, body: str) -> dict[str, Any]:
    return {
        "_id": doc,
        "_rev": revisions.revision(doc, generation),
        "type": type_,
        **_body.decode(body),
    }


def _fold_case(*text: apsw.SQLiteValue) -> str:
    return str(text[0]).casefold()


def _literals(text: str, globbed: bool) -> list[str]:
    if not globbed:
        return [text]
    return text.replace("?", "*").split("*")


def _glob_escape(pattern: str) -> str:
    # SQLite's GLOB knows brackets too, which people do not mean when they type one.
    return pattern.replace("[", "[[]")
