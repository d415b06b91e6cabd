"""Proof that a view equals its log: replay the log into a fresh view and compare row by row.

The live view is copied at one moment; every stream is replayed up to that moment's checkpoint into
an empty view; both are compared by what they mean, not by their private numbers. Documents whose
last message the log no longer keeps (streams with an age limit) cannot be replayed and are counted
apart.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import apsw

from events import consume, ids, streams
from events.ids import NodeId
from projectors.documents.view import DocumentsView, beside, copy_view, discard
from projectors.loop import check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from events.connection import Connection
    from projectors.view import Checkpoint

# Each query tells one table by meaning; rows that only one side has are differences.
_MEANING: Final = {
    "files": """
        SELECT lower(hex(f.uuid)), o.node, d.path, f.name, f.inode, f.size, f.mtime, m.mime,
               f.version, f.deleted
        FROM {0}.files f JOIN {0}.folders d ON d.id = f.folder JOIN {0}.nodes o ON o.id = d.node
        JOIN {0}.mimes m ON m.id = f.mime""",
    "documents": """
        SELECT doc, type, generation, body FROM {0}.documents
        WHERE doc NOT IN (SELECT doc FROM live.beyond)""",
    "dead_letters": """
        SELECT stream, sequence, subject, reason FROM {0}.dead_letters
        WHERE stream NOT IN (SELECT stream FROM live.forgetful)""",
    "checkpoints": "SELECT stream, created, sequence FROM {0}.checkpoints",
}
_EXAMPLES: Final = 10


async def verify(connection: Connection, view: Path) -> AsyncIterator[dict[str, Any]]:
    """Progress lines, and at last one with `equal`, `differences` and `compared`."""
    copy, fresh = beside(view, "live"), beside(view, "fresh")
    try:
        yield {"step": "copy"}
        await asyncio.to_thread(copy_view, view, copy)
        live = DocumentsView(copy)
        checkpoints = live.checkpoints()
        heads = await streams.heads(connection)
        check(checkpoints, heads)
        replayed = DocumentsView(fresh)
        replayed.adopt({name: checkpoint.created for name, checkpoint in checkpoints.items()})
        for name, checkpoint in checkpoints.items():
            done = 0
            async for batch in consume.read(connection, name, upto=checkpoint.sequence):
                await asyncio.to_thread(replayed.apply, batch)
                done = batch[-1].sequence
                yield {"step": "replay", "stream": name, "at": done, "of": checkpoint.sequence}
            if done < checkpoint.sequence:
                # The tail of the stream was dropped by its limits; the position still counts.
                replayed.skip_to(name, checkpoint.sequence)
        replayed.close()
        live.close()
        moved = await _moved_on(connection, checkpoints)
        yield {"step": "compare"}
        yield await asyncio.to_thread(_compare, copy, fresh, heads, moved)
    finally:
        discard(copy)
        discard(fresh)


async def _moved_on(connection: Connection, checkpoints: Mapping[str, Checkpoint]) -> set[str]:
    """Documents of nodes that spoke again after the copy was made.

    NODES keeps the last message of a subject only: what the copy had seen of them may be gone from
    the log by the time it is replayed. Read after the replay, so that none is overlooked.
    """
    moved: set[str] = set()
    for stream in streams.STREAMS:
        if stream.last_per_subject and stream.name in checkpoints:
            after = checkpoints[stream.name].sequence
            async for batch in consume.read(connection, stream.name, after=after):
                for message in batch:
                    node = NodeId(message.subject.split(".")[2])
                    moved |= {ids.node_doc(node), ids.agent_status_doc(node)}
    return moved


def _compare(
    copy: Path, fresh: Path, heads: dict[str, dict[str, Any]], moved: set[str]
) -> dict[str, Any]:
    connection = apsw.Connection(":memory:")
    connection.execute("ATTACH ? AS live; ATTACH ? AS fresh", (str(copy), str(fresh)))
    _set_aside(connection, heads)
    beyond = connection.execute("SELECT count(*) FROM live.beyond").get
    connection.executemany("INSERT OR IGNORE INTO live.beyond VALUES (?)", [(d,) for d in moved])
    differences: list[dict[str, Any]] = []
    compared: dict[str, int] = {}
    count = 0
    for table, query in _MEANING.items():
        live, replay = query.format("live"), query.format("fresh")
        compared[table] = connection.execute(f"SELECT count(*) FROM ({live})").get
        for side, wanted, other in (("view", live, replay), ("log", replay, live)):
            rows = connection.execute(f"{wanted} EXCEPT {other}")
            for row in rows:
                count += 1
                if len(differences) < _EXAMPLES:
                    differences.append({"table": table, "only_in": side, "row": list(row)})
    broken = _name_index(connection)
    connection.close()
    return {
        "equal": count == 0 and broken is None,
        "differing_rows": count,
        "differences": differences,
        "compared": compared,
        "beyond_the_log": beyond,
        "changed_meanwhile": len(moved),
        "name_index": broken or "whole",
    }


def _set_aside(connection: apsw.Connection, heads: dict[str, dict[str, Any]]) -> None:
    """Tables of what the log has forgotten by its declared limits."""
    connection.execute(
        """CREATE TABLE live.forgetful (stream TEXT PRIMARY KEY);
           CREATE TABLE live.beyond (doc TEXT PRIMARY KEY)"""
    )
    for stream in streams.STREAMS:
        if stream.keep_days or stream.last_per_subject:
            connection.execute("INSERT INTO live.forgetful VALUES (?)", (stream.name,))
        if stream.keep_days:
            connection.execute(
                """INSERT OR IGNORE INTO live.beyond
                   SELECT d.doc FROM live.documents d
                   JOIN live.applied a ON a.n = (SELECT max(n) FROM live.applied WHERE n <= d.n)
                   WHERE a.stream = ? AND a.sequence < ?""",
                (stream.name, heads[stream.name]["first_seq"]),
            )


def _name_index(connection: apsw.Connection) -> str | None:
    """What is wrong with the name search's index, if anything."""
    try:
        connection.execute("INSERT INTO live.names (names, rank) VALUES ('integrity-check', 1)")
    except apsw.Error as wrong:
        return f"the name index does not fit the names: {wrong}"
    return None
