"""The writer of the document view."""

from __future__ import annotations

import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import apsw
import msgspec

from events.codec import MESSAGE_ID, decode
from events.errors import Poison
from events.fold import Body, Change, fold
from events.ids import DocId, FileId, file_doc
from events.machine.database import DatabaseCorrupt, errors, open_database, transaction
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

_logger = logging.getLogger(__name__)

# More touched documents than this are not named in the change feed.
NAMED_DOCS: Final = 1000
_EXCERPT: Final = 4096

# What a message can provoke in the fold, and nothing that the disk or a bug elsewhere can.
_UNFIT: Final = (Poison, ValueError, KeyError, TypeError, OverflowError, apsw.ConstraintError)

_body = msgspec.json.Decoder(dict[str, Any])


def create(path: Path) -> None:
    """Make an empty view at a path where there is none, durable before it is seen."""
    making = beside(path, "new")
    with errors(making):
        connection = open_database(making)
        with transaction(connection, making):
            connection.execute(schema.DDL)
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("version", schema.VERSION), ("epoch", secrets.token_hex(8)), ("n", 0)],
            )
        connection.close()
    making.rename(path)


def discard(path: Path) -> None:
    """Remove a view's files."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def beside(view: Path, what: str) -> Path:
    """A path of its own for a passing file of a view; `Shelf.tidy` removes what a kill leaves."""
    return view.with_name(f"{view.stem}.{what}-{secrets.token_hex(4)}.tmp")


def copy_view(view: Path, copy: Path) -> None:
    """A compact copy of a view as it is at one moment; its writer may go on meanwhile."""
    with errors(view):
        connection = open_database(view)
        try:
            connection.execute("VACUUM INTO ?", (str(copy),))
        finally:
            connection.close()


class DocumentsView:
    """Implements `projectors.view.View`."""

    def __init__(self, path: Path, *, cache_mib: int = 64) -> None:
        self.path = path
        if not path.exists():
            create(path)
        self._connection = open_database(path, cache_mib=cache_mib)
        with errors(path):
            self._check()
            self._n = int(self._meta("n"))
            self.epoch = self._meta("epoch")
            self._files = FilesFold(self._connection)
            self._checkpoints = self._read_checkpoints()
            self._windows: dict[str, Window] = {
                name: Window(high, int.from_bytes(seen, "little"))
                for name, high, seen in self._connection.execute("SELECT * FROM writers")
            }

    def _check(self) -> None:
        """Refuse a damaged file and a view of another version before anything is built on it."""
        found = self._connection.execute("PRAGMA quick_check(1)").get
        if found != "ok":
            raise DatabaseCorrupt(f"{self.path} is damaged: {found}")
        try:
            version = self._meta("version")
        except (apsw.SQLError, TypeError):
            raise StaleView(f"{self.path} is not a document view") from None
        if version != str(schema.VERSION):
            raise StaleView(f"{self.path} has version {version}, this program {schema.VERSION}")

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
        before = self._n
        each = [self.apply([message]) for message in messages]
        docs = [doc for applied in each for doc in applied.docs or []]
        named = all(applied.docs is not None for applied in each) and len(docs) <= NAMED_DOCS
        return Applied(
            max(self._n, before), docs if named else None, sum(applied.dead for applied in each)
        )

    def _apply(
        self, messages: Sequence[Message], buried: tuple[Message, Exception] | None = None
    ) -> Applied:
        touched: list[str] = []
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
                        docs, write = self._prepare(message)
                    except _UNFIT as reason:
                        self._bury(message, reason)
                        dead += 1
                        continue
                    if docs:
                        self._connection.execute(
                            "INSERT INTO applied VALUES (?, ?, ?)",
                            (n + 1, message.stream, message.sequence),
                        )
                        write(n + 1)
                        n += len(docs)
                        touched += docs
                if buried is not None:
                    _advance(reached, buried[0])
                    self._bury(*buried)
                    dead += 1
                self._files.index_names()
                self._remember(n, windows, reached)
        except BaseException:
            # The folder cache may name rows that were rolled back.
            self._files.forget()
            raise
        self._files.committed()
        self._n, self._windows, self._checkpoints = n, windows, reached
        return Applied(n, touched if len(touched) <= NAMED_DOCS else None, dead)

    def _seen(self, message: Message, windows: dict[str, Window]) -> bool:
        named = window.parse((message.headers or {}).get(MESSAGE_ID, ""))
        if named is None:
            return False
        writer, number = named
        before = windows.get(writer, window.EMPTY)
        if before.has(number):
            return True
        windows[writer] = before.with_(number)
        return False

    def _prepare(self, message: Message) -> tuple[list[str], Callable[[int], None]]:
        """The documents that a message touches, and what writes them, numbered from n on."""
        envelope = decode(message.subject, message.headers, message.body)
        event = envelope.event
        if isinstance(event, FileIndexed | FileChanged | FileRenamed | FileRestored | FileDeleted):
            rows = self._files.prepare(event, envelope)
            return [file_doc(FileId(each)) for each in rows.ids], partial(self._files.write, rows)
        changes = fold(envelope, self._load)
        bodies = [
            None if change.body is None else msgspec.json.encode(change.body).decode()
            for change in changes
        ]
        return [change.doc for change in changes], partial(self._documents, changes, bodies)

    def _documents(self, changes: Sequence[Change], bodies: Sequence[str | None], n: int) -> None:
        self._connection.executemany(
            """INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (doc) DO UPDATE SET generation = generation + ?3, n = ?4, body = ?5""",
            [
                (change.doc, change.type, change.by, n + i, body)
                for i, (change, body) in enumerate(zip(changes, bodies, strict=True))
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
                message.subject,
                f"{type(reason).__name__}: {reason}"[:1000],
                moment(message.stored_ns // 1_000_000),
                msgspec.json.encode(message.headers or {}).decode(),
                message.body[:_EXCERPT],
            ),
        )

    def _remember(self, n: int, windows: dict[str, Window], reached: dict[str, Checkpoint]) -> None:
        self._connection.executemany(
            "UPDATE checkpoints SET sequence = ? WHERE stream = ?",
            [
                (checkpoint.sequence, stream)
                for stream, checkpoint in reached.items()
                if checkpoint != self._checkpoints[stream]
            ],
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO writers VALUES (?, ?, ?)",
            [
                (name, seen.high, seen.seen.to_bytes(window.WIDTH // 8, "little"))
                for name, seen in windows.items()
                if seen != self._windows.get(name)
            ],
        )
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
