"""Proof that a view equals its log: replay the log into a fresh view and compare row by row.

The live view is copied at one moment; every stream is replayed up to that moment's checkpoint into
an empty view; both are compared by what they mean, not by their private numbers. Documents that the
log no longer tells in full (streams with a limit) cannot be replayed and are counted apart. What a
replay cannot show is checked in the live view itself: its indexes and its own counts.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import apsw

from events import consume, ids, streams, subjects
from events.errors import Poison
from events.ids import NodeId
from events.machine.database import errors, open_reader
from projectors.documents.view import DocumentsView, beside, copy_view, discard
from projectors.loop import check
from projectors.thread import to_the_end

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
    "writers": """
        SELECT stream, name, high, hex(seen) FROM {0}.writers
        WHERE stream NOT IN (SELECT stream FROM live.forgetful)""",
    "checkpoints": "SELECT stream, created, sequence FROM {0}.checkpoints",
}
# What the live view has counted, against a count.
_COUNTS: Final = {
    "nodes": (
        "SELECT node, files FROM live.nodes WHERE files > 0",
        """SELECT o.node, count(*) FROM live.files f JOIN live.folders d ON d.id = f.folder
           JOIN live.nodes o ON o.id = d.node GROUP BY o.id""",
    ),
    "tallies": (
        "SELECT type, live, removed FROM live.tallies",
        "SELECT type, count(body), count(*) - count(body) FROM live.documents GROUP BY type",
    ),
}
_EXAMPLES: Final = 10
# Three views are open in the projector while it verifies.
_CACHE_MIB: Final = 16


async def verify(connection: Connection, view: Path) -> AsyncIterator[dict[str, Any]]:
    """Progress lines, and at last one with `equal`, `differences` and `compared`."""
    copy, fresh = beside(view, "live"), beside(view, "fresh")
    try:
        yield {"step": "copy"}
        damage = await to_the_end(_damage, view)
        await to_the_end(copy_view, view, copy)
        checkpoints = await to_the_end(_checkpoints, copy)
        check(checkpoints, await streams.heads(connection))
        replayed = await to_the_end(DocumentsView, fresh, cache_mib=_CACHE_MIB)
        with contextlib.closing(replayed):
            replayed.adopt({name: checkpoint.created for name, checkpoint in checkpoints.items()})
            for name, checkpoint in checkpoints.items():
                done = 0
                async for batch in consume.read(connection, name, upto=checkpoint.sequence):
                    await to_the_end(replayed.apply, batch)
                    done = batch[-1].sequence
                    yield {"step": "replay", "stream": name, "at": done, "of": checkpoint.sequence}
                if done < checkpoint.sequence:
                    # The tail of the stream was dropped by its limits; the position still counts.
                    replayed.skip_to(name, checkpoint.sequence)
        moved = await _moved_on(connection, checkpoints)
        # Looked at after the replay: what was dropped while it went on is missing in it too.
        heads = await streams.heads(connection)
        yield {"step": "compare"}
        found = await to_the_end(_compare, copy, fresh, heads, moved)
        yield {**found, "equal": found["equal"] and damage is None, "file": damage or "whole"}
    finally:
        discard(copy)
        discard(fresh)


def _damage(view: Path) -> str | None:
    """What is wrong with the file itself, if anything. A copy would have its indexes mended."""
    with errors(view):
        connection = open_reader(view)
        try:
            # A whole file that is mapped once counts as memory of this process.
            connection.pragma("mmap_size", 0)
            found = connection.execute("PRAGMA integrity_check(1)").get
        finally:
            connection.close()
    return None if found == "ok" else str(found)


def _checkpoints(copy: Path) -> dict[str, Checkpoint]:
    with contextlib.closing(DocumentsView(copy, make=False, cache_mib=_CACHE_MIB)) as live:
        return live.checkpoints()


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
                    with contextlib.suppress(Poison):
                        node = NodeId(subjects.parse(message.subject).token("node"))
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
    pairs = {
        table: (query.format("live"), query.format("fresh"), "log")
        for table, query in _MEANING.items()
    } | {table: (*queries, "count") for table, queries in _COUNTS.items()}
    for table, (stated, known, source) in pairs.items():
        compared[table] = connection.execute(f"SELECT count(*) FROM ({stated})").get
        for side, wanted, other in (("view", stated, known), (source, known, stated)):
            for row in connection.execute(f"{wanted} EXCEPT {other}"):
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
        if not stream.keep_days and not stream.last_per_subject:
            continue
        connection.execute("INSERT INTO live.forgetful VALUES (?)", (stream.name,))
        head = heads.get(stream.name, {})
        if head.get("first_seq", 0) > 1 or head.get("num_deleted"):
            # A generation counts what the document went through; the replay has seen less of it.
            connection.execute(
                """INSERT OR IGNORE INTO live.beyond
                   SELECT d.doc FROM live.documents d LEFT JOIN fresh.documents f ON f.doc = d.doc
                   WHERE d.generation > ifnull(f.generation, 0) AND ?1 IN (
                       SELECT stream FROM live.applied
                       WHERE n = (SELECT max(n) FROM live.applied WHERE n <= d.n)
                       UNION ALL SELECT stream FROM live.authors WHERE doc = d.doc)""",
                (stream.name,),
            )


def _name_index(connection: apsw.Connection) -> str | None:
    """What is wrong with the name search's index, if anything."""
    try:
        connection.execute("INSERT INTO live.names (names, rank) VALUES ('integrity-check', 1)")
    except apsw.Error as wrong:
        return f"the name index does not fit the names: {wrong}"
    return None
