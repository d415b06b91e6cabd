"""Documents as CouchDB clients get them: identity, revision and body, cut to an audience.

One predicate decides everywhere what a client may see: `Audience`. A document of a type outside of
it does not exist for the client, under whatever question. Bodies are JSON text ready to be sent;
for a file it is written directly, which is several times as fast as through a dict.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from events.ids import file_id_bytes, file_id_text
from events.machine.database import errors
from events.moments import moment
from events.paths import join
from projectors.documents.revisions import revision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import apsw

    from projectors.documents.reader import Reader

FILE_PREFIX: Final = "file::"

_json = msgspec.json.Encoder()
_body = msgspec.json.Decoder(dict[str, Any])

# What a row of a file is made of. `FileBody` depends on the order.
FILE_COLUMNS: Final = (
    "f.n, f.uuid, o.node, f.inode, d.path, f.name, f.size, f.mtime, m.mime, f.version, f.deleted"
)
FILE_TABLES: Final = (
    "files f JOIN folders d ON d.id = f.folder JOIN nodes o ON o.id = d.node "
    "JOIN mimes m ON m.id = f.mime"
)
DOCUMENT_COLUMNS: Final = "n, doc, type, generation, body"


class Audience(NamedTuple):
    """Which types of documents exist for somebody, and what is cut out of their bodies."""

    types: frozenset[str]
    clean: Callable[[str, dict[str, Any]], dict[str, Any]]

    @property
    def listed(self) -> str:
        """The types as a JSON array, for `type IN (SELECT value FROM json_each(?))`."""
        return _json.encode(sorted(self.types - {"file"})).decode()


class Entry(NamedTuple):
    """A document as it is now. `body` is the whole JSON object, `_id` and `_rev` first; a
    tombstone's body says `_deleted`. `n` is the number of its last change in this view."""

    n: int
    doc: str
    type: str
    generation: int
    rev: str
    deleted: bool
    body: bytes

    def document(self) -> dict[str, Any]:
        return _body.decode(self.body)


def file_entry(row: tuple[Any, ...]) -> Entry:
    """The entry for a row of FILE_COLUMNS; the body equals `FileRow.document()`."""
    n, raw, node, inode, parent, name, size, mtime, mime, version, deleted = row
    text = raw.hex()
    uuid = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    doc = FILE_PREFIX + uuid
    rev = revision(doc, version)
    quote = _json.encode
    gone = f'"deleted","deleted_at":"{moment(deleted)}"}}' if deleted is not None else '"active"}'
    body = (
        f'{{"_id":"{doc}","_rev":"{rev}","type":"file","file_id":"{uuid}","inode":{inode},"name":'
        f'{quote(name).decode()},"source":{{"node_id":{quote(node).decode()},"export_path":'
        f'{quote(join(parent, name)).decode()},"export_parent":{quote(parent).decode()}}},'
        f'"size":{size},"mtime":"{moment(mtime // 1_000_000)}","mtime_ns":"{mtime}",'
        f'"mime_type":{quote(mime).decode()},"status":{gone}'
    )
    return Entry(n, doc, "file", version, rev, False, body.encode())


def document_entry(row: tuple[Any, ...], audience: Audience) -> Entry:
    """The entry for a row of DOCUMENT_COLUMNS."""
    n, doc, type_, generation, text = row
    rev = revision(doc, generation)
    if text is None:
        body: dict[str, Any] = {"_id": doc, "_rev": rev, "_deleted": True}
    else:
        clean = audience.clean(type_, _body.decode(text))
        body = {"_id": doc, "_rev": rev, "type": type_, **clean}
    return Entry(n, doc, type_, generation, rev, text is None, _json.encode(body))


def connection(reader: Reader) -> apsw.Connection:
    """The reader's own connection, for the queries of this package's CouchDB part."""
    return reader._connection


def rows(reader: Reader, query: str, bindings: Sequence[Any] = ()) -> list[Any]:
    """All rows of a query, with this package's errors."""
    with errors(reader._path):
        return connection(reader).execute(query, tuple(bindings)).fetchall()


def each(reader: Reader, query: str, bindings: Sequence[Any] = ()) -> Iterator[Any]:
    """The rows of a query one by one, for whoever may stop early."""
    with errors(reader._path):
        yield from connection(reader).execute(query, tuple(bindings))


def entry(reader: Reader, audience: Audience, doc: str) -> Entry | None:
    """The document with this id, or its tombstone; None if the audience has no such document."""
    if doc.startswith(FILE_PREFIX):
        if (raw := file_key(doc)) is None or "file" not in audience.types:
            return None
        query = f"SELECT {FILE_COLUMNS} FROM {FILE_TABLES} WHERE f.uuid = ?"
        return next((file_entry(row) for row in rows(reader, query, (raw,))), None)
    query = f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE doc = ?"
    for row in rows(reader, query, (doc,)):
        if row[2] in audience.types:
            return document_entry(row, audience)
    return None


def file_key(doc: str) -> bytes | None:
    """The uuid in a file's document id, if that is how we write it."""
    text = doc.removeprefix(FILE_PREFIX)
    try:
        raw = file_id_bytes(text)
    except ValueError:
        return None
    return raw if file_id_text(raw) == text else None


# In order of their ids


class Span(NamedTuple):
    """The ids from `low` on and below `high`; None is no bound."""

    low: str | None = None
    high: str | None = None


def listing(
    reader: Reader, audience: Audience, span: Span, *, descending: bool, limit: int, skip: int = 0
) -> list[Entry]:
    """Live documents in order of their id (by code point, as CouchDB lists them)."""
    found: list[Entry] = []
    for part in _parts(reader, audience, span, descending=descending):
        if limit <= len(found):
            break
        taken = part(limit - len(found), skip)
        skip = max(0, skip - part.count()) if skip and not taken else 0
        found += taken
    return found


def count(reader: Reader, audience: Audience, span: Span = Span()) -> int:  # noqa: B008  # a tuple
    """How many live documents the audience has in a span of ids; without one, nobody counts."""
    if span == Span():
        found = rows(
            reader,
            "SELECT ifnull(sum(live), 0) FROM tallies "
            "WHERE type IN (SELECT value FROM json_each(?))",
            (audience.listed,),
        )[0][0]
        if "file" in audience.types:
            found += rows(reader, "SELECT ifnull(sum(files), 0) FROM nodes")[0][0]
        return int(found)
    return sum(part.count() for part in _parts(reader, audience, span, descending=False))


class _Part:
    """A run of ids that lies in one table."""

    def __init__(
        self,
        reader: Reader,
        columns: str,
        source: str,
        order: str,
        bindings: tuple[Any, ...],
        make: Callable[[tuple[Any, ...]], Entry],
    ) -> None:
        self._reader, self._columns, self._source = reader, columns, source
        self._order, self._bindings, self._make = order, bindings, make

    def __call__(self, limit: int, skip: int) -> list[Entry]:
        found = rows(
            self._reader,
            f"SELECT {self._columns} FROM {self._source} ORDER BY {self._order} LIMIT ? OFFSET ?",
            (*self._bindings, limit, skip),
        )
        return [self._make(row) for row in found]

    def count(self) -> int:
        query = f"SELECT count(*) FROM {self._source}"
        return int(rows(self._reader, query, self._bindings)[0][0])


def _parts(reader: Reader, audience: Audience, span: Span, *, descending: bool) -> Iterator[_Part]:
    """Documents before the files, the files, documents behind them."""
    low, high = span.low or "", span.high
    end = FILE_PREFIX[:-1] + chr(ord(FILE_PREFIX[-1]) + 1)
    parts = [
        _documents(reader, audience, low, FILE_PREFIX if high is None else min(high, FILE_PREFIX)),
        _files(reader, audience, low, high),
        _documents(reader, audience, max(low, end), high),
    ]
    order = "DESC" if descending else "ASC"
    for part in reversed(parts) if descending else parts:
        if part is not None:
            yield part(order)


def _documents(
    reader: Reader, audience: Audience, low: str, high: str | None
) -> Callable[[str], _Part] | None:
    if high is not None and low >= high:
        return None
    where = "body IS NOT NULL AND type IN (SELECT value FROM json_each(?)) AND doc >= ?"
    bindings: tuple[Any, ...] = (audience.listed, low)
    if high is not None:
        where, bindings = f"{where} AND doc < ?", (*bindings, high)
    return lambda order: _Part(
        reader,
        DOCUMENT_COLUMNS,
        f"documents WHERE {where}",
        f"doc {order}",
        bindings,
        lambda row: document_entry(row, audience),
    )


def _files(
    reader: Reader, audience: Audience, low: str, high: str | None
) -> Callable[[str], _Part] | None:
    if "file" not in audience.types:
        return None
    condition, bindings = uuid_span(Span(low, high))
    return lambda order: _Part(
        reader,
        FILE_COLUMNS,
        f"{FILE_TABLES} WHERE {condition}",
        f"f.uuid {order}",
        bindings,
        file_entry,
    )


def uuid_span(span: Span) -> tuple[str, tuple[bytes, ...]]:
    """SQL for `f.uuid` that holds for the files whose document id lies in the span."""
    low = uuid_from(span.low or "")
    high = None if span.high is None else uuid_from(span.high)
    if low is None:
        return "0", ()
    if high is None:
        return "f.uuid >= ?", (low,)
    return "f.uuid >= ? AND f.uuid < ?", (low, high)


_HEX: Final = "0123456789abcdef"
_DASHES: Final = frozenset({8, 13, 18, 23})
_LENGTH: Final = 36


def uuid_from(doc: str) -> bytes | None:
    """The lowest uuid whose file document id is not below a text; None if none is that high."""
    if doc <= FILE_PREFIX:
        return bytes(16)
    if not doc.startswith(FILE_PREFIX):
        return None if doc > FILE_PREFIX else bytes(16)
    text = doc.removeprefix(FILE_PREFIX)
    digits = ""
    for place, character in enumerate(text[:_LENGTH]):
        if place in _DASHES:
            if character != "-":
                return _filled(digits) if character < "-" else _next(digits)
        elif character in _HEX:
            digits += character
        else:
            above = next((digit for digit in _HEX if digit > character), None)
            return _next(digits) if above is None else _filled(digits + above)
    return _next(digits) if len(text) > _LENGTH else _filled(digits)


def _filled(digits: str) -> bytes:
    return bytes.fromhex(digits.ljust(32, "0"))


def _next(digits: str) -> bytes | None:
    """The lowest uuid above all that begin with the digits."""
    if not digits or set(digits) == {"f"}:
        return None
    number = int(digits, 16) + 1
    return _filled(f"{number:0{len(digits)}x}")


# The log behind the view


class Head(NamedTuple):
    """Where a view stands. `log` is the same for every view of one log and for no other log."""

    epoch: str
    n: int
    log: int
    checkpoints: dict[str, int]

    @property
    def uuid(self) -> str:
        return blake2b(str(self.log).encode(), digest_size=16, person=b"mosaicfs-log").hexdigest()


def head(reader: Reader) -> Head:
    """Where the view stands now."""
    meta = dict(rows(reader, "SELECT key, value FROM meta"))
    streams = rows(reader, "SELECT stream, created, sequence FROM checkpoints ORDER BY stream")
    mark = "\n".join(f"{stream} {created}" for stream, created, _ in streams)
    log = int.from_bytes(blake2b(mark.encode(), digest_size=4).digest())
    return Head(str(meta["epoch"]), int(meta["n"]), log, {name: at for name, _, at in streams})
