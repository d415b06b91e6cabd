"""Getting the agent's memory back from the log, when agent.db is lost.

Without it every file would be new: a second identity for each, and every label and annotation
pointing at the first. The log holds all that matters except for the inode numbers of the disk,
which the next crawl adopts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent import schema
from agent.findings import Findings
from agent.state import ROW, Folder, Row, State
from events import clock, consume, subjects
from events.codec import decode
from events.errors import Poison
from events.ids import file_id_bytes
from events.vocabulary.files import (
    File,
    FileChanged,
    FileDeleted,
    FileIndexed,
    FileRenamed,
    FileRestored,
    GoneFile,
)
from events.vocabulary.nodes import NodeOffline, NodeOnline, NodeRegistered, NodeStatus
from events.vocabulary.notices import NoticeRaised, NoticeResolved

if TYPE_CHECKING:
    from events.connection import Connection
    from events.consume import Message
    from events.ids import NodeId
    from events.vocabulary import Event


async def restore(state: State, connection: Connection, node: NodeId) -> int:
    """Fill an empty state from the log and mark it ready; returns the number of files.

    Raises LogUnavailable. What it left half done is begun anew by the next call.
    """
    memory = _Memory(state, node)
    await asyncio.to_thread(memory.begin)
    for stream in ("FILES", "NODES", "NOTICES"):
        subject = f"{subjects.ROOT}.{stream.lower()}.{subjects.escape(node)}.>"
        async for batch in consume.read(
            connection, stream, subject=subject, reader=f"{node}-restore"
        ):
            await asyncio.to_thread(memory.take, batch)
    return await asyncio.to_thread(memory.end)


class _Memory:
    """Folds the events of one node into its state; each record states its file whole."""

    def __init__(self, state: State, node: NodeId) -> None:
        self._state = state
        self._node = node
        self._folders: dict[str, int] = {}
        self._v: dict[str, int] = {}

    def begin(self) -> None:
        """Forget all files, and be ready to look them up by their id."""
        with self._state.transaction():
            self._state.set("restoring", "1")
            self._state.connection.execute(
                "DROP INDEX IF EXISTS files_place; DELETE FROM files; DELETE FROM folders;"
                "CREATE UNIQUE INDEX IF NOT EXISTS files_uuid ON files (uuid)"
            )

    def take(self, batch: list[Message]) -> None:
        with self._state.transaction():
            for message in batch:
                try:
                    envelope = decode(message.subject, message.headers, message.body)
                except Poison:
                    # Not written by an agent; the projector dead-letters it and tells a person.
                    continue
                self._fold(envelope.event, envelope.address.tokens[1], envelope.time)

    def _fold(self, event: Event, token: str, time: clock.Moment) -> None:
        match event:
            case FileIndexed() | FileChanged() | FileRestored() | FileRenamed():
                for file in event.files:
                    self._put(file)
            case FileDeleted():
                for gone in event.files:
                    self._delete(gone, time)
            case NodeRegistered() | NodeOnline() | NodeOffline():
                self._count("node", event.v)
            case NodeStatus():
                self._count("status", event.v)
            case NoticeRaised() if event.severity == "info":
                self._state.set(f"told:{token}", "1")
            case NoticeRaised():
                self._state.set(f"notice:{token}", event.severity)
            case NoticeResolved():
                self._state.unset(f"notice:{token}")
            case _:
                return

    def _put(self, file: File) -> None:
        known = self._known(file.id)
        if known is None or known.v < file.v:
            self._write(file, 0, known)

    def _delete(self, gone: GoneFile, time: clock.Moment) -> None:
        known = self._known(gone.id)
        if known is not None and known.v < gone.v:
            file = File(
                id=gone.id,
                inode=known.inode,
                parent=gone.parent,
                name=gone.name,
                size=known.size,
                mtime=known.mtime,
                v=gone.v,
            )
            self._write(file, max(1, clock.unix_ms(time)), known)

    def _known(self, file: str) -> Row | None:
        rows = self._state.all(f"SELECT {ROW} FROM files WHERE uuid = ?", (file_id_bytes(file),))
        return Row(*rows[0]) if rows else None

    def _write(self, file: File, deleted: int, known: Row | None) -> None:
        self._state.connection.execute(
            f"INSERT OR REPLACE INTO files ({ROW}) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
            (
                known.id if known is not None else None,
                file_id_bytes(file.id),
                file.inode,
                self._folder(file.parent),
                file.name,
                file.size,
                file.mtime,
                file.v,
                deleted,
            ),
        )

    def _folder(self, path: str) -> int:
        id = self._folders.get(path)
        if id is None:
            id = self._folders[path] = len(self._folders) + 1
            # The crawl corrects the device; that a mount point was one is forgotten.
            self._state.put_folders([Folder(id, path, 0, False)])
        return id

    def _count(self, document: str, v: int) -> None:
        if v > self._v.get(document, 0):
            self._v[document] = v
            self._state.set(f"v:{document}", str(v))

    def end(self) -> int:
        state = self._state
        # One place holds one living file. If the log tells of two, the newer one stands there now.
        findings = Findings(state, self._node, lambda: None)
        for id, folder in state.all(
            "SELECT f.id, d.path FROM files f JOIN folders d ON d.id = f.folder "
            "WHERE deleted = 0 AND EXISTS (SELECT 1 FROM files g WHERE g.folder = f.folder "
            "AND g.name = f.name AND g.deleted = 0 AND g.id > f.id)"
        ):
            findings.deleted(folder, state.row(id))
        findings.write()
        with state.transaction():
            state.connection.execute(f"DROP INDEX IF EXISTS files_uuid; {schema.ONE_PER_PLACE}")
            state.unset("restoring")
            state.set("ready", "1")
        return state.count()
