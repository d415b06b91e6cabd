"""What changed since a position of the log, a page at a time: the engine of `_changes`.

A page is of one moment; between pages the view may change or be another build. What holds them
together is the vector of `tokens`: for each stream, what was given. Rules that make it exact:

- A document stands in the order of a view at its last change. So once a scan has passed a change
  number, everything at or below it was given, or has moved ahead and will be given there.
- Hence at a cut every stream may be taken as read up to that number, even where it brought nothing
  that this audience sees. Without that, a stream whose documents all moved on would hold the
  start of the next page back for ever.
- In another view the streams are interleaved differently. Rows that a stream's position covers are
  passed over there.
- Some documents have several writers (`schema.SHARED_TYPES`). Passing over one because of its last
  writer may lose what another wrote that this view applied before. Such a document is given where
  that other writer's change stands, which the table `authors` remembers.
- A position ahead of the view waits: nothing is given until the view has it.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from projectors.documents import schema, tokens
from projectors.documents.couch import (
    DOCUMENT_COLUMNS,
    FILE_COLUMNS,
    FILE_TABLES,
    Audience,
    Entry,
    Head,
    document_entry,
    file_entry,
    head,
    rows,
)
from projectors.documents.tokens import Position, Vector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from projectors.documents.reader import Reader

# The key in a token under which the log is named. No stream can have that name.
_LOG: Final = "@"
_BEGINNING: Final = Position(0)
# Pending changes are counted exactly up to this many.
COUNTED: Final = 10_000


class Condition(NamedTuple):
    """Restricts a page in SQL to rows that may match; the caller looks again. None: no rows."""

    files: tuple[str, tuple[Any, ...]] | None
    documents: tuple[str, tuple[Any, ...]] | None


ALL: Final = Condition(("1", ()), ("1", ()))


class Row(NamedTuple):
    """A changed document, and how far streams are given with it: that of its last change, and
    those of its other writers, if it has any."""

    entry: Entry
    given: tuple[tuple[str, Position], ...]


class Page(NamedTuple):
    """`after` is the position behind everything that was looked at. `done`: up to `head`."""

    rows: list[Row]
    since: Vector
    after: Vector
    done: bool
    ahead: bool
    head: Head


# Tokens


def token(vector: Mapping[str, Position], log: int) -> str:
    """The token for a vector in a log; `tokens.decode` reads it."""
    plain = {
        stream: [position.sequence, position.within] if position.within else position.sequence
        for stream, position in sorted(vector.items())
        if position != _BEGINNING
    }
    total = sum(position.sequence for position in vector.values())
    return f"{total}-{_packed(msgspec.json.encode({_LOG: log, **plain}))}"


def _packed(text: bytes) -> str:
    # A stored block: ten times as fast as compressing, which gains little on a hundred bytes.
    length = len(text)
    block = b"".join(
        (
            b"\x78\x01\x01",
            length.to_bytes(2, "little"),
            (length ^ 0xFFFF).to_bytes(2, "little"),
            text,
            zlib.adler32(text).to_bytes(4),
        )
    )
    return base64.urlsafe_b64encode(block).rstrip(b"=").decode()


def since(text: str, here: Head) -> Vector:
    """The position that a client names; raises `tokens.BadToken`.

    A token of another log is the beginning of this one.
    """
    if text.strip().strip('"') == "now":
        return everything(here)
    vector = tokens.decode(text)
    mark = vector.pop(_LOG, None)
    if mark is not None and mark.sequence != here.log:
        return {}
    return vector


def everything(here: Head) -> Vector:
    """The position of all that the view has."""
    return {stream: Position(at) for stream, at in here.checkpoints.items()}


def is_ahead(vector: Vector, here: Head) -> bool:
    """Whether the view has yet to reach the position."""
    return any(
        position > Position(here.checkpoints[stream])
        for stream, position in vector.items()
        if stream in here.checkpoints
    )


# Forward


def page(
    reader: Reader,
    audience: Audience,
    position: Vector,
    *,
    limit: int,
    until: Head | None = None,
    condition: Condition = ALL,
) -> Page:
    """The next changes behind a position, at most `limit` of them looked at.

    `until` ends the scan where a view stood at an earlier page, so that a long answer is not
    chased by what happens meanwhile. Fewer rows than `limit` may come although it is not done.
    """
    here = head(reader)
    if is_ahead(position, here):
        return Page([], position, position, done=True, ahead=True, head=here)
    end = until if until is not None and until.epoch == here.epoch else here
    start = _start(reader, position, here)
    if start is None or start > end.n:
        return Page([], position, merged(position, everything(end)), True, False, here)
    found = _candidates(reader, audience, condition, start, end.n, limit)
    complete = len(found) < limit
    found += _overtaken(reader, audience, position, start, end.n)
    found.sort(key=_order)
    del found[limit:]
    complete = complete and len(found) < limit
    given, after = _place(reader, position, found, end)
    if complete:
        after = merged(after, everything(end))
    elif found:
        after = _passed(reader, after, start, found[-1].n)
    return Page(given, position, after, done=complete, ahead=False, head=here)


class _Candidate(NamedTuple):
    """An entry, and the change number at which it stands in this scan."""

    n: int
    entry: Entry


def _order(candidate: _Candidate) -> int:
    return candidate.n


def _candidates(
    reader: Reader, audience: Audience, condition: Condition, start: int, end: int, limit: int
) -> list[_Candidate]:
    entries: list[Entry] = []
    if condition.files is not None and "file" in audience.types:
        where, bindings = condition.files
        entries += map(
            file_entry,
            rows(
                reader,
                f"SELECT {FILE_COLUMNS} FROM {FILE_TABLES} "
                f"WHERE f.n BETWEEN ? AND ? AND ({where}) ORDER BY f.n LIMIT ?",
                (start, end, *bindings, limit),
            ),
        )
    if condition.documents is not None:
        where, bindings = condition.documents
        # `+type` keeps SQLite on the index by n, which is the order that is wanted.
        entries += (
            document_entry(row, audience)
            for row in rows(
                reader,
                f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE n BETWEEN ? AND ? "
                f"AND +type IN (SELECT value FROM json_each(?)) AND ({where}) ORDER BY n LIMIT ?",
                (start, end, audience.listed, *bindings, limit),
            )
        )
    return [_Candidate(entry.n, entry) for entry in entries]


class _Message(NamedTuple):
    """A message's changes have the numbers `first` to `last`."""

    stream: str
    sequence: int
    first: int
    last: int

    def position(self, n: int) -> Position:
        """How far the stream is given with a change of this message."""
        if n == self.last:
            return Position(self.sequence)
        return Position(self.sequence - 1, n - self.first + 1)


def _message(reader: Reader, n: int, end: int) -> _Message:
    """The message that brought a change."""
    query = "SELECT n, stream, sequence FROM applied WHERE n <= ? ORDER BY n DESC LIMIT 1"
    first, stream, sequence = rows(reader, query, (n,))[0]
    following = rows(reader, "SELECT min(n) FROM applied WHERE n > ?", (n,))[0][0]
    return _Message(stream, sequence, first, end if following is None else following - 1)


def _place(
    reader: Reader, position: Vector, found: Iterable[_Candidate], end: Head
) -> tuple[list[Row], Vector]:
    """The candidates that the position does not cover, each with its place in the log."""
    vector = dict(position)
    given: list[Row] = []
    message = _Message("", 0, 0, -1)
    for n, entry in found:
        if not message.first <= n <= message.last:
            message = _message(reader, n, end.n)
        at = message.position(n)
        if at > vector.get(message.stream, _BEGINNING):
            row = Row(entry, ((message.stream, at),))
            vector[message.stream] = at
            if entry.type in schema.SHARED_TYPES:
                row = _with_writers(reader, row, n, end)
                vector = merged(vector, dict(row.given))
            given.append(row)
    return given, vector


def _with_writers(reader: Reader, row: Row, n: int, end: Head) -> Row:
    """What the other writers of a document did before is given with it."""
    query = "SELECT n FROM authors WHERE doc = ? AND n < ?"
    others = [
        (message.stream, message.position(other))
        for (other,) in rows(reader, query, (row.entry.doc, n))
        for message in (_message(reader, other, end.n),)
    ]
    return Row(row.entry, (*row.given, *others))


def _overtaken(
    reader: Reader, audience: Audience, position: Vector, start: int, end: int
) -> list[_Candidate]:
    """Documents whose last change the position covers, where another writer's is not covered."""
    shared = sorted(schema.SHARED_TYPES & audience.types)
    if not shared or not position:
        return []
    found = []
    for n, *row in rows(
        reader,
        f"SELECT w.n, {_named(DOCUMENT_COLUMNS)} FROM authors w JOIN documents d ON d.doc = w.doc "
        "WHERE w.n BETWEEN ? AND ? AND w.n <> d.n "
        "AND d.type IN (SELECT value FROM json_each(?))",
        (start, end, msgspec.json.encode(shared).decode()),
    ):
        last = _message(reader, row[0], end)
        if last.position(row[0]) <= position.get(last.stream, _BEGINNING):
            found.append(_Candidate(n, document_entry(tuple(row), audience)))
    return found


def _named(columns: str) -> str:
    return ", ".join(f"d.{column}" for column in columns.split(", "))


def _start(reader: Reader, position: Vector, here: Head) -> int | None:
    """The lowest change number that can lie behind a position."""
    starts = []
    for stream in here.checkpoints:
        sequence, within = position.get(stream, _BEGINNING)
        for first, found in rows(
            reader,
            "SELECT n, sequence FROM applied WHERE stream = ? AND sequence > ? "
            "ORDER BY sequence LIMIT 1",
            (stream, sequence),
        ):
            starts.append(first + within if found == sequence + 1 else first)
    return min(starts, default=None)


def _passed(reader: Reader, vector: Vector, start: int, n: int) -> Vector:
    """The vector when everything below the message of change n has been passed."""
    first = rows(reader, "SELECT max(n) FROM applied WHERE n <= ?", (n,))[0][0]
    whole = rows(
        reader,
        # From the message before `start` on: the position may have been at the last of its changes.
        "SELECT stream, max(sequence) FROM applied WHERE n BETWEEN "
        "ifnull((SELECT max(n) FROM applied WHERE n < ?), 0) AND ? GROUP BY stream",
        (start, first - 1),
    )
    return merged(vector, {stream: Position(sequence) for stream, sequence in whole})


def merged(one: Vector, other: Vector) -> Vector:
    """The farther of two positions, stream by stream."""
    return {
        stream: max(one.get(stream, _BEGINNING), other.get(stream, _BEGINNING))
        for stream in one.keys() | other.keys()
    }


def pending(reader: Reader, audience: Audience, position: Vector) -> int:
    """How many changes lie behind a position; an upper bound where they are very many."""
    here = head(reader)
    start = _start(reader, position, here)
    if start is None:
        return 0
    counted = 0
    if "file" in audience.types:
        query = "SELECT count(*) FROM (SELECT 1 FROM files WHERE n >= ? LIMIT ?)"
        counted += rows(reader, query, (start, COUNTED + 1))[0][0]
    counted += rows(
        reader,
        "SELECT count(*) FROM (SELECT 1 FROM documents WHERE n >= ? "
        "AND +type IN (SELECT value FROM json_each(?)) LIMIT ?)",
        (start, audience.listed, COUNTED + 1),
    )[0][0]
    return counted if counted <= COUNTED else here.n - start + 1


# Backward


class Back(NamedTuple):
    """Where a scan from the newest change down stands; None in `n` is the very end."""

    n: int | None
    vector: Vector
    epoch: str


def page_back(
    reader: Reader, audience: Audience, at: Back | None, *, limit: int, condition: Condition = ALL
) -> tuple[list[tuple[Entry, Vector]], Back | None, Head]:
    """The newest changes, or those before where a scan stands; newest first.

    Ends early where the view became another build meanwhile: its order is another one.
    """
    here = head(reader)
    if at is None:
        at = Back(None, everything(here), here.epoch)
    if at.epoch != here.epoch:
        return [], None, here
    top = here.n if at.n is None else at.n - 1
    found = _candidates_back(reader, audience, condition, top, limit)
    vector = dict(at.vector)
    given = []
    message = _Message("", 0, 0, -1)
    for entry in found:
        if not message.first <= entry.n <= message.last:
            message = _message(reader, entry.n, here.n)
        vector[message.stream] = message.position(entry.n)
        given.append((entry, dict(vector)))
        # The rows below stand before this one.
        vector[message.stream] = Position(message.sequence - 1, entry.n - message.first)
    left = Back(found[-1].n, vector, here.epoch) if len(found) == limit and found else None
    return given, left, here


def _candidates_back(
    reader: Reader, audience: Audience, condition: Condition, top: int, limit: int
) -> list[Entry]:
    entries: list[Entry] = []
    if condition.files is not None and "file" in audience.types:
        where, bindings = condition.files
        query = (
            f"SELECT {FILE_COLUMNS} FROM {FILE_TABLES} "
            f"WHERE f.n <= ? AND ({where}) ORDER BY f.n DESC LIMIT ?"
        )
        entries += map(file_entry, rows(reader, query, (top, *bindings, limit)))
    if condition.documents is not None:
        where, bindings = condition.documents
        query = (
            f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE n <= ? "
            f"AND +type IN (SELECT value FROM json_each(?)) AND ({where}) ORDER BY n DESC LIMIT ?"
        )
        found = rows(reader, query, (top, audience.listed, *bindings, limit))
        entries += (document_entry(row, audience) for row in found)
    entries.sort(key=lambda entry: -entry.n)
    return entries[:limit]
