"""The writer of the document view."""

from __future__ import annotations

import logging
import secrets
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import apsw
import msgspec

from events.codec import MESSAGE_ID, decode
from events.errors import Poison
from events.fold import Body, Change, fold
from events.machine.database import (
    DatabaseCorrupt,
    errors,
    open_database,
    open_reader,
    transaction,
)
from events.moments import moment
from events.vocabulary.files import (
    FileChanged,
    FileDeleted,
    FileIndexed,
    FileRenamed,
    FileRestored,
)
from projectors import window
from projectors.documents import schema
from projectors.documents.files import FilesFold
from projectors.view import Applied, Checkpoint, StaleView
from projectors.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from events.consume import Message
    from events.ids import DocId

_logger = logging.getLogger(__name__)

# More touched documents than this, or longer names in all, are not named in the change feed.
NAMED_DOCS: Final = 1000
NAMED_CHARACTERS: Final = 128 * 1024
_EXCERPT: Final = 4096
# Rows of `applied` that are looked at for each message that is applied; see `_Sweep`.
_SWEPT: Final = 4

# What a message can provoke in the fold, and nothing that the disk or a bug elsewhere can.
_UNFIT: Final = (Poison, ValueError, KeyError, TypeError, OverflowError, apsw.ConstraintError)

_body = msgspec.json.Decoder(dict[str, Any])
# The keys of a body in one order, whatever the order was in which two streams contributed to it.
_plain = msgspec.json.Encoder(order="deterministic")


def create(path: Path) -> None:
    """Make an empty view at a path where there is none, durable before it is seen."""
    making = beside(path, "new")
    try:
        with errors(making):
            connection = open_database(making)
            try:
                with transaction(connection, making):
                    connection.execute(schema.DDL)
                    connection.executemany(
                        "INSERT INTO meta VALUES (?, ?)",
                        [("version", schema.VERSION), ("epoch", secrets.token_hex(8)), ("n", 0)],
                    )
            finally:
                connection.close()
        making.rename(path)
    except BaseException:
        discard(making)
        raise


def discard(path: Path) -> None:
    """Remove a view's files."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def beside(view: Path, what: str) -> Path:
    """A path of its own for a passing file of a view; `Shelf.held` removes what a kill leaves."""
    return view.with_name(f"{view.stem}.{what}-{secrets.token_hex(4)}.tmp")


def copy_view(view: Path, copy: Path) -> None:
    """A compact copy of a view as it is at one moment; its writer may go on meanwhile."""
    with errors(view):
        # As a reader, because a view that was replaced meanwhile must not come back as an empty
        # file. The reader's restraint counts for the copy too, so it is lifted.
        try:
            connection = open_reader(view)
        except FileNotFoundError:
            raise StaleView(f"{view} was replaced by a newer build; try again") from None
        try:
            connection.pragma("query_only", 0)
            # A whole file that is mapped once counts as memory of this process.
            connection.pragma("mmap_size", 0)
            connection.execute("VACUUM INTO ?", (str(copy),))
        finally:
            connection.close()


class _Prepared(NamedTuple):
    """What a message changes: how many documents, which, and what writes them from number n on."""

    size: int
    docs: Callable[[], Sequence[str]]
    write: Callable[[int], None]


class DocumentsView:
    """Implements `projectors.view.View`."""

    def __init__(self, path: Path, *, cache_mib: int = 64, make: bool = True) -> None:
        self.path = path
        if not path.exists():
            if not make:
                raise StaleView(f"{path} is gone")
            create(path)
        self._connection = open_database(path, cache_mib=cache_mib)
        try:
            with errors(path):
                self._check()
                self._load_state()
        except (apsw.SQLError, TypeError, ValueError) as wrong:
            self._connection.close()
            raise StaleView(f"{path} is not a document view: {wrong}") from None
        except BaseException:
            self._connection.close()
            raise

    def _check(self) -> None:
        """Refuse a damaged file and a view of another version before anything is built on it."""
        found = self._connection.execute("PRAGMA quick_check(1)").get
        if found != "ok":
            raise DatabaseCorrupt(f"{self.path} is damaged: {found}")
        version = self._meta("version")
        if version != str(schema.VERSION):
            raise StaleView(f"{self.path} has version {version}, this program {schema.VERSION}")

    def _load_state(self) -> None:
        self._n = int(self._meta("n"))
        self.epoch = self._meta("epoch")
        self._files = FilesFold(self._connection)
        self._checkpoints = self._read_checkpoints()
        self._windows: dict[tuple[str, str], Window] = {
            (stream, name): Window(high, int.from_bytes(seen, "little"))
            for stream, name, high, seen in self._connection.execute("SELECT * FROM writers")
        }
        # Where the sweep over `applied` stands.
        self._hand = 0

    def _meta(self, key: str) -> str:
        return str(self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).get)

    def _read_checkpoints(self) -> dict[str, Checkpoint]:
        rows = self._connection.execute("SELECT stream, created, sequence FROM checkpoints")
        return {stream: Checkpoint(created, sequence) for stream, created, sequence in rows}

    @property
    def n(self) -> int:
        """The number of the last change."""
        return self._n

    def checkpoints(self) -> dict[str, Checkpoint]:
        return dict(self._checkpoints)

    def adopt(self, created: Mapping[str, str]) -> None:
        fresh = {name: Checkpoint(at, 0) for name, at in created.items()}
        with transaction(self._connection, self.path):
            self._connection.executemany(
                "INSERT OR IGNORE INTO checkpoints VALUES (?, ?, ?)",
                [(name, checkpoint.created, 0) for name, checkpoint in fresh.items()],
            )
        self._checkpoints = fresh | self._checkpoints

    def apply(self, messages: Sequence[Message]) -> Applied:
        try:
            return self._apply(messages)
        except _UNFIT as reason:
            # Everything that a message can have wrong is found before it is written; this is for
            # what nobody thought of. One by one, so that only the guilty message is put aside.
            if len(messages) == 1:
                return self._apply([], buried=(messages[0], reason))
        each = [self.apply([message]) for message in messages]
        docs: list[str] | None = []
        for applied in each:
            docs = _named(docs, len(applied.docs or []), partial(list, applied.docs or []))
            docs = None if applied.docs is None else docs
        return Applied(self._n, docs, sum(applied.dead for applied in each))

    def _apply(
        self, messages: Sequence[Message], buried: tuple[Message, Exception] | None = None
    ) -> Applied:
        touched: list[str] | None = []
        dead = 0
        n, windows, reached = self._n, dict(self._windows), dict(self._checkpoints)
        try:
            with transaction(self._connection, self.path):
                for message in messages:
                    if message.sequence <= reached[message.stream].sequence:
                        continue
                    _advance(reached, message)
                    if self._seen(message, windows):
                        continue
                    try:
                        prepared = self._prepare(message)
                    except _UNFIT as reason:
                        self._bury(message, reason)
                        dead += 1
                        continue
                    if prepared.size:
                        self._connection.execute(
                            "INSERT INTO applied VALUES (?, ?, ?)",
                            (n + 1, message.stream, message.sequence),
                        )
                        prepared.write(n + 1)
                        n += prepared.size
                        touched = _named(touched, prepared.size, prepared.docs)
                if buried is not None:
                    _advance(reached, buried[0])
                    self._bury(*buried)
                    dead += 1
                self._files.index_names()
                hand = self._sweep(_SWEPT * len(messages))
                self._remember(n, windows, reached)
        except BaseException:
            # The folder cache may name rows that were rolled back.
            self._files.forget()
            raise
        self._files.committed()
        self._n, self._windows, self._checkpoints, self._hand = n, windows, reached, hand
        return Applied(n, touched, dead)

    def _seen(self, message: Message, windows: dict[tuple[str, str], Window]) -> bool:
        named = window.parse((message.headers or {}).get(MESSAGE_ID, ""))
        if named is None:
            return False
        writer, number = named
        before = windows.get((message.stream, writer), window.EMPTY)
        if before.has(number):
            return True
        windows[message.stream, writer] = before.with_(number)
        return False

    def _prepare(self, message: Message) -> _Prepared:
        envelope = decode(message.subject, message.headers, message.body)
        event = envelope.event
        if isinstance(event, FileIndexed | FileChanged | FileRenamed | FileRestored | FileDeleted):
            rows = self._files.prepare(event, envelope)
            return _Prepared(
                len(rows.found) + len(rows.gone), rows.docs, partial(self._files.write, rows)
            )
        changes = fold(envelope, self._load)
        bodies = [
            None if change.body is None else _plain.encode(change.body).decode()
            for change in changes
        ]
        return _Prepared(
            len(changes),
            lambda: [change.doc for change in changes],
            partial(self._documents, message.stream, changes, bodies),
        )

    def _documents(
        self, stream: str, changes: Sequence[Change], bodies: Sequence[str | None], n: int
    ) -> None:
        self._connection.executemany(
            """INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (doc) DO UPDATE SET generation = generation + ?3, n = ?4, body = ?5""",
            [
                (change.doc, change.type, change.by, n + i, body)
                for i, (change, body) in enumerate(zip(changes, bodies, strict=True))
            ],
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO authors VALUES (?, ?, ?)",
            [
                (change.doc, stream, n + i)
                for i, change in enumerate(changes)
                if change.type in schema.SHARED_TYPES
            ],
        )

    def _load(self, doc: DocId) -> Body | None:
        body = self._connection.execute("SELECT body FROM documents WHERE doc = ?", (doc,)).get
        return None if body is None else _body.decode(body)

    def _bury(self, message: Message, reason: Exception) -> None:
        _logger.warning(
            "dead letter: %s",
            reason,
            extra={"stream": message.stream, "sequence": message.sequence},
        )
        self._connection.execute(
            "INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                message.stream,
                message.sequence,
                _storable(message.subject),
                _storable(f"{type(reason).__name__}: {reason}"[:1000]),
                moment(message.stored_ns // 1_000_000),
                msgspec.json.encode(
                    {
                        _storable(key): _storable(text)
                        for key, text in (message.headers or {}).items()
                    }
                ).decode(),
                message.body[:_EXCERPT],
            ),
        )

    def _sweep(self, count: int) -> int:
        """Remove rows of `applied` that no document points to any more; returns the new hand.

        A heartbeat changes one document for ever, and each leaves a row behind. A clock hand that
        looks at a few rows for each message keeps the table in proportion to the documents,
        without ever making anybody wait.
        """
        rows = self._connection.execute(
            "SELECT n FROM applied WHERE n > ? ORDER BY n LIMIT ?", (self._hand, count + 1)
        ).fetchall()
        spans = list(pairwise(int(n) for (n,) in cast("list[tuple[int]]", rows)))
        if not spans:
            return 0
        self._connection.executemany(
            """DELETE FROM applied WHERE n = ?1
               AND NOT EXISTS (SELECT 1 FROM files WHERE n >= ?1 AND n < ?2)
               AND NOT EXISTS (SELECT 1 FROM documents WHERE n >= ?1 AND n < ?2)
               AND NOT EXISTS (SELECT 1 FROM authors WHERE n >= ?1 AND n < ?2)""",
            spans,
        )
        return spans[-1][0]

    def _remember(
        self, n: int, windows: dict[tuple[str, str], Window], reached: dict[str, Checkpoint]
    ) -> None:
        self._connection.executemany(
            "UPDATE checkpoints SET sequence = ? WHERE stream = ?",
            [
                (checkpoint.sequence, stream)
                for stream, checkpoint in reached.items()
                if checkpoint != self._checkpoints[stream]
            ],
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO writers VALUES (?, ?, ?, ?)",
            [
                (*name, seen.high, seen.seen.to_bytes(window.WIDTH // 8, "little"))
                for name, seen in windows.items()
                if seen != self._windows.get(name)
            ],
        )
        if n != self._n:
            self._connection.execute("UPDATE meta SET value = ? WHERE key = 'n'", (n,))

    def skip_to(self, stream: str, sequence: int) -> None:
        """Count what a stream has dropped by its own limits as read."""
        with transaction(self._connection, self.path):
            self._connection.execute(
                "UPDATE checkpoints SET sequence = ? WHERE stream = ?", (sequence, stream)
            )
        self._checkpoints[stream] = self._checkpoints[stream]._replace(sequence=sequence)

    def close(self) -> None:
        """Close; the WAL is folded in, so that the file alone is the view."""
        self._connection.close()


def _advance(reached: dict[str, Checkpoint], message: Message) -> None:
    reached[message.stream] = reached[message.stream]._replace(sequence=message.sequence)


def _named(
    docs: list[str] | None, count: int, more: Callable[[], Sequence[str]]
) -> list[str] | None:
    """The documents and more of them, or None when that is too much to name."""
    if docs is None or len(docs) + count > NAMED_DOCS:
        return None
    docs = [*docs, *more()]
    return docs if sum(map(len, docs)) <= NAMED_CHARACTERS else None


def _storable(text: str) -> str:
    """Text that SQLite and JSON take, whatever bytes a message had in its place."""
    return text.encode(errors="backslashreplace").decode()
