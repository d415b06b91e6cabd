"""Reading the document view: the queries behind the CLI, the gateway and the mount.

A reader never writes and never waits for the writer (WAL). One reader belongs to one thread.
Results are as of the last commit; `Reader.transaction` holds one moment over several calls.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, cast

import apsw
import msgspec

from events.errors import Temporary
from events.ids import FileId, file_doc, file_id_bytes, file_id_text
from events.machine.database import errors, open_reader
from events.moments import moment
from events.paths import join, split
from projectors.documents import letters, revisions, schema, tokens
from projectors.documents.tokens import Position, Vector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_body = msgspec.json.Decoder(dict[str, Any])

_COLUMNS: Final = """
SELECT f.uuid, o.node, f.inode, d.path, f.name, f.size, f.mtime, m.mime, f.version, f.deleted, f.n
"""
_JOINED: Final = """
JOIN folders d ON d.id = f.folder JOIN nodes o ON o.id = d.node JOIN mimes m ON m.id = f.mime
"""
# Every file by its place. `CROSS JOIN` is SQLite's word for: in this order of tables.
_PLACED: Final = """
FROM nodes o CROSS JOIN folders d ON d.node = o.id CROSS JOIN files f ON f.folder = d.id
CROSS JOIN mimes m ON m.id = f.mime
"""
# The two halves of the index of places, as conditions that SQLite knows them by.
_HALF: Final = {"live": "IS NULL", "gone": "IS NOT NULL"}

# Whether a name fits. LIKE is three times as fast as our own letters, and does the same for names
# in ASCII, which is most of them.
_FITS: Final = """
iif(length(f.name) = octet_length(f.name), f.name LIKE ? ESCAPE '\\', fold(f.name) GLOB ?)
"""
_LIKE: Final = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_", "*": "%", "?": "_"})

# A node with fewer files than this is searched folder by folder: matches of the whole view that
# lie on other nodes would have to be walked otherwise.
_SMALL_NODE: Final = 30_000
# No name is longer, so neither is a text that could be found.
_LONGEST_TEXT: Final = 8192
_CHANGES_PAGE: Final = 5000
_BEGINNING: Final = Position(0)
_SHARED: Final = "({})".format(", ".join(f"'{each}'" for each in sorted(schema.SHARED_TYPES)))


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
    """A document whose last change lies behind a position, and the position after it.

    `document` is its body, when it was asked for and unless it is a tombstone.
    """

    doc: str
    generation: int
    deleted: bool
    after: Vector
    document: dict[str, Any] | None = None


class DeadLetter(NamedTuple):
    """A message that was put aside; `at` is when the stream stored it."""

    stream: str
    sequence: int
    subject: str
    reason: str
    at: str


class _Span(NamedTuple):
    """A run of files in order of place: on a node, in a range of folders, behind a name."""

    node: int
    low: str
    high: str
    name: str = ""
    row: int = 0


class _Wanted(NamedTuple):
    """What a search looks for: a folded glob, as GLOB and LIKE, and what the name index can do."""

    glob: str
    like: str
    matched: str
    deleted: bool


_Place = tuple[str, Position]


class _Change(NamedTuple):
    """A row of `changes` before anybody's position is known.

    A document that several streams change stands at the last change of each of them, with the
    places of the `earlier` and the `later` ones. It is given at the last one that is behind the
    asker's position: in the view that the position came from, another may have been the last.
    """

    n: int
    doc: str
    generation: int
    deleted: bool
    body: dict[str, Any] | None
    place: _Place
    earlier: list[_Place]
    later: list[_Place]


class Reader:
    """A connection to the view. Use as a context manager or call `close`.

    Raises NoView where there is none yet, or none that this version of MosaicFS can read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = open_reader(path)
        except FileNotFoundError:
            raise NoView("there is no view yet: start `mosaicfs up`") from None
        try:
            self._connection.create_scalar_function("fold", _fold, 1, deterministic=True)
            self._demand_version()
        except BaseException:
            self._connection.close()
            raise

    def _demand_version(self) -> None:
        try:
            found = self._rows("SELECT value FROM meta WHERE key = 'version'")
        except apsw.SQLError:
            found = []
        if found != [(schema.VERSION,)]:
            raise NoView(
                "the view on this machine is of another version of MosaicFS; "
                "`mosaicfs up` rebuilds it"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def _moment(self) -> Iterator[None]:
        """The present transaction, or one for the length of the block."""
        if self._connection.in_transaction:
            yield
        else:
            with self.transaction():
                yield

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

    def _files(self, query: str, bindings: tuple[Any, ...]) -> list[FileRow]:
        return [FileRow(file_id_text(row[0]), *row[1:]) for row in self._rows(query, bindings)]

    # Files

    def file(self, file: str) -> FileRow | None:
        """The file with this id, deleted or not."""
        try:
            raw = file_id_bytes(file)
        except ValueError:
            return None
        if file_id_text(raw) != file:
            # The same number written otherwise: in capitals, or with its dashes elsewhere.
            return None
        return next(
            iter(self._files(f"{_COLUMNS} FROM files f {_JOINED} WHERE f.uuid = ?", (raw,))), None
        )

    def file_with_inode(self, inode: int) -> FileRow | None:
        """The file with this inode, deleted or not."""
        return next(
            iter(self._files(f"{_COLUMNS} FROM files f {_JOINED} WHERE f.inode = ?", (inode,))),
            None,
        )

    def file_at(self, node: str | None, path: str) -> FileRow | None:
        """The file at a path of a node (of any node if None); a live one before a deleted one."""
        if not path.startswith("/") or not _storable(path):
            return None
        parent, name = split(path)
        for half in _HALF.values():
            found = self._files(
                f"""{_COLUMNS} {_PLACED}
                WHERE ifnull(?, o.node) = o.node AND d.path = ? AND f.name = ? AND f.deleted {half}
                ORDER BY f.deleted DESC, f.id LIMIT 1""",
                (node, parent, name),
            )
            if found:
                return found[0]
        return None

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
        """Files in order of their place (node, folder, name), a page behind the file `after`.

        `parent` takes the files of one folder, `below` those of a folder and all under it.
        Every page costs the same, however many files there are. A file that is renamed between
        two pages may be met twice or not at all; `transaction` holds the view still.
        """
        found: list[FileRow] = []
        with self._moment():
            for span in self._spans(node, _ranges(parent, below), after):
                if len(found) >= limit:
                    break
                found += self._in_order(span, limit - len(found), deleted=deleted)
        return found

    def _spans(
        self, node: str | None, ranges: list[tuple[str, str]], after: FileId | None
    ) -> Iterator[_Span]:
        """What lies behind a file: in its folder, on its node, then on the nodes after it."""
        first, path, name, row = (0, "", "", 0) if after is None else self._place(after)
        nodes = self._rows(
            "SELECT id FROM nodes WHERE (?1 IS NULL OR node = ?1) AND id >= ?2 ORDER BY id",
            (node, first),
        )
        for (each,) in nodes:
            for low, high in ranges:
                if each != first:
                    yield _Span(each, low, high)
                    continue
                if low <= path < high:
                    yield _Span(each, path, path + "\0", name, row)
                yield _Span(each, max(low, path + "\0"), high)

    def _place(self, file: FileId) -> tuple[int, str, str, int]:
        rows = self._rows(
            """SELECT d.node, d.path, f.name, f.id FROM files f JOIN folders d ON d.id = f.folder
               WHERE f.uuid = ?""",
            (file_id_bytes(file),),
        )
        if not rows:
            raise ValueError(f"no such file: {file}")
        return cast("tuple[int, str, str, int]", rows[0])

    def _in_order(self, span: _Span, limit: int, *, deleted: bool) -> list[FileRow]:
        rows = self._half("IS NULL", span, limit)
        if deleted:
            rows = sorted(rows + self._half("IS NOT NULL", span, limit), key=_by_place)[:limit]
        return [FileRow(file_id_text(row[0]), *row[1:-1]) for row in rows]

    def _half(self, deleted: str, span: _Span, limit: int) -> list[Any]:
        return self._rows(
            f"""{_COLUMNS}, f.id {_PLACED}
            WHERE o.id = ? AND d.path >= ? AND d.path < ? AND f.deleted {deleted}
            AND (f.name, f.id) > (?, ?) ORDER BY d.path, f.name, f.id LIMIT ?""",
            (*span, limit),
        )

    def search(
        self, text: str, *, limit: int = 50, node: str | None = None, deleted: bool = False
    ) -> list[FileRow]:
        """Files whose name holds the text, or fits it as a glob if it has `*` or `?`.

        Case does not matter. Any name is found, whatever characters it and the text hold.
        """
        if not text or len(text) > _LONGEST_TEXT or not _storable(text) or "\0" in text:
            return []
        globbed = any(mark in text for mark in "*?")
        parts = [part for part in _literals(text, globbed) if len(part) >= 3]
        pattern = letters.fold(text if globbed else f"*{text}*")
        wanted = _Wanted(
            # SQLite's GLOB knows brackets too, which people do not mean when they type one.
            pattern.replace("[", "[[]"),
            pattern.translate(_LIKE),
            " AND ".join('"' + part.replace('"', '""') + '"' for part in parts),
            deleted,
        )
        with self._moment():
            nodes = self._rows(
                "SELECT id, files, first, last FROM nodes WHERE ?1 IS NULL OR node = ?1", (node,)
            )
            if parts and (node is None or any(row[1] >= _SMALL_NODE for row in nodes)):
                first = min((row[2] for row in nodes if row[2]), default=0)
                last = max((row[3] for row in nodes if row[3]), default=0)
                return self._search_index(wanted, first, last, node, limit)
            if node is None:
                return self._search_names(wanted, limit)
            return [file for row in nodes for file in self._search_folders(wanted, row[0], limit)]

    def _search_index(
        self, wanted: _Wanted, first: int, last: int, node: str | None, limit: int
    ) -> list[FileRow]:
        # Walks the matches and stops at the limit; an IN (…) would gather them all first. The
        # index jumps over the rows of other nodes as far as the node's own stand together.
        return self._files(
            f"""{_COLUMNS} FROM names CROSS JOIN files f ON f.id = names.rowid {_JOINED}
            WHERE names MATCH ? AND names.rowid BETWEEN ? AND ? AND {_FITS}
            AND (? OR f.deleted IS NULL) AND ifnull(?, o.node) = o.node LIMIT ?""",
            (wanted.matched, first, last, wanted.like, wanted.glob, wanted.deleted, node, limit),
        )

    def _search_names(self, wanted: _Wanted, limit: int) -> list[FileRow]:
        """Past the index, over all names; they stand close together in the index of places."""
        found: list[FileRow] = []
        for half in ("live", "gone") if wanted.deleted else ("live",):
            found += self._files(
                f"""{_COLUMNS} FROM files f {_JOINED} WHERE f.id IN (
                    SELECT f.id FROM files AS f INDEXED BY files_{half}
                    WHERE f.deleted {_HALF[half]} AND {_FITS} LIMIT ?)""",
                (wanted.like, wanted.glob, limit - len(found)),
            )
        return found

    def _search_folders(self, wanted: _Wanted, node: int, limit: int) -> list[FileRow]:
        """Past the index, over the names of one node."""
        found: list[FileRow] = []
        for half in ("live", "gone") if wanted.deleted else ("live",):
            found += self._files(
                f"""{_COLUMNS} {_PLACED}
                WHERE o.id = ? AND f.deleted {_HALF[half]} AND {_FITS} LIMIT ?""",
                (node, wanted.like, wanted.glob, limit - len(found)),
            )
        return found

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

    def changes(self, since: Vector, *, limit: int = 1000, bodies: bool = False) -> list[Changed]:
        """Documents whose last change lies behind a position of the log, in this view's order.

        `bodies` gives the documents with it, as they are at the same moment.
        """
        vector = dict(since)
        found: list[Changed] = []
        with self._moment():
            start = self._first_behind(since)
            while start is not None and len(found) < limit:
                page = self._changed_from(start, min(limit - len(found), _CHANGES_PAGE), bodies)
                for change in page:
                    if not _is_behind(vector, change.place):
                        continue
                    if any(_is_behind(vector, each) for each in change.later):
                        continue
                    for stream, position in (*change.earlier, change.place):
                        if _is_behind(vector, (stream, position)):
                            vector = {**vector, stream: position}
                    found.append(
                        Changed(change.doc, change.generation, change.deleted, vector, change.body)
                    )
                start = page[-1].n + 1 if page else None
        return found

    def _changed_from(self, start: int, limit: int, bodies: bool) -> list[_Change]:
        """Documents whose last change has the number `start` or a higher one, in that order."""
        rows: list[tuple[int, str, int, dict[str, Any] | None, bool]] = []
        if bodies:
            files = self._files(
                f"{_COLUMNS} FROM files f {_JOINED} WHERE f.n >= ? ORDER BY f.n LIMIT ?",
                (start, limit),
            )
            rows += [
                (file.n, file_doc(file.id), file.generation, file.document(), False)
                for file in files
            ]
        else:
            short = self._rows(
                "SELECT n, uuid, version FROM files WHERE n >= ? ORDER BY n LIMIT ?",
                (start, limit),
            )
            rows += [(n, file_doc(file_id_text(raw)), v, None, False) for n, raw, v in short]
        others = self._rows(
            f"""SELECT n, doc, type, generation, {"body" if bodies else "NULL"}, body IS NULL
            FROM documents WHERE n >= ? AND type NOT IN {_SHARED} ORDER BY n LIMIT ?""",
            (start, limit),
        ) + self._rows(
            f"""SELECT w.n, doc, type, generation, {"body" if bodies else "NULL"}, body IS NULL
            FROM authors w JOIN documents USING (doc) WHERE w.n >= ? ORDER BY w.n LIMIT ?""",
            (start, limit),
        )
        rows += [
            (n, doc, generation, body and _document(doc, type_, generation, body), bool(gone))
            for n, doc, type_, generation, body, gone in others
        ]
        rows.sort(key=_by_number)
        return self._placed(rows[:limit])

    def _placed(
        self, rows: list[tuple[int, str, int, dict[str, Any] | None, bool]]
    ) -> list[_Change]:
        """Rows in order of their numbers, with the place in the log that each stands for."""
        if not rows:
            return []
        span = (rows[0][0], rows[-1][0])
        messages = self._rows(
            """SELECT n, stream, sequence FROM applied
               WHERE n >= (SELECT max(n) FROM applied WHERE n <= ?) AND n <= ? ORDER BY n""",
            span,
        )
        others: dict[tuple[int, bool], list[_Place]] = {}
        for n, later, stream, sequence, within in self._rows(
            """SELECT w.n, o.n > w.n, a.stream, a.sequence, o.n - a.n + 1 FROM authors w
               JOIN authors o ON o.doc = w.doc AND o.n <> w.n
               JOIN applied a ON a.n = (SELECT max(n) FROM applied WHERE n <= o.n)
               WHERE w.n BETWEEN ? AND ?""",
            span,
        ):
            places = others.setdefault((n, bool(later)), [])
            places.append((stream, Position(sequence - 1, within)))
        found: list[_Change] = []
        at = 0
        for n, doc, generation, body, gone in rows:
            while at + 1 < len(messages) and messages[at + 1][0] <= n:
                at += 1
            first, stream, sequence = messages[at]
            place = (stream, Position(sequence - 1, n - first + 1))
            earlier, later = others.get((n, False), []), others.get((n, True), [])
            found.append(_Change(n, doc, generation, gone, body, place, earlier, later))
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
        with self._moment():
            files = self._rows("SELECT ifnull(sum(files), 0) FROM nodes")[0][0]
            gone = self._rows("SELECT count(*) FROM files WHERE deleted IS NOT NULL")[0][0]
            documents = self._rows("SELECT ifnull(sum(live), 0) FROM tallies")[0][0]
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


def _fold(*text: apsw.SQLiteValue) -> str:
    return letters.fold(str(text[0]))


def _literals(text: str, globbed: bool) -> list[str]:
    if not globbed:
        return [text]
    return text.replace("?", "*").split("*")


def _storable(text: str) -> bool:
    """Whether a name can be this at all: path text never holds a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ranges(parent: str | None, below: str | None) -> list[tuple[str, str]]:
    """Half-open ranges of folder paths, in order; no path holds a NUL, and `0` follows `/`."""
    if below is None:
        ranges = [("/", "0")]
    else:
        top = below.rstrip("/")
        ranges = [(top, top + "\0"), (top + "/", top + "0")] if top else [("/", "0")]
    if parent is None:
        return ranges
    return [(parent, parent + "\0")] if any(a <= parent < b for a, b in ranges) else []


def _by_place(row: tuple[Any, ...]) -> tuple[str, str, int]:
    return row[3], row[4], row[-1]


def _is_behind(vector: Vector, place: _Place) -> bool:
    stream, position = place
    return position > vector.get(stream, _BEGINNING)


def _by_number(row: tuple[int, *tuple[Any, ...]]) -> int:
    return row[0]
