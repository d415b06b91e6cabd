"""What a view says, without the numbers that are private to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw

from projectors.documents.reader import Reader
from projectors.documents.tokens import Position

if TYPE_CHECKING:
    from pathlib import Path

    from projectors.documents.tokens import Vector


def meaning(path: Path) -> dict[str, Any]:
    """Every table by what it means; equal for two views that have read the same log."""
    connection = apsw.Connection(str(path))
    try:
        tables = {
            "files": """SELECT hex(f.uuid), o.node, d.path, f.name, f.inode, f.size, f.mtime,
                        m.mime, f.version, f.deleted FROM files f JOIN folders d ON d.id = f.folder
                        JOIN nodes o ON o.id = d.node JOIN mimes m ON m.id = f.mime""",
            "documents": "SELECT doc, type, generation, body FROM documents",
            "dead letters": "SELECT stream, sequence, subject, reason, at FROM dead_letters",
            "checkpoints": "SELECT * FROM checkpoints",
            "writers": "SELECT * FROM writers",
            "tallies": "SELECT * FROM tallies",
            "nodes": "SELECT node, files FROM nodes",
        }
        return {name: sorted(connection.execute(query)) for name, query in tables.items()}
    finally:
        connection.close()


def contents(path: Path) -> list[Any]:
    """Every row of every table, private numbers too: for proof that nothing at all was written."""
    connection = apsw.Connection(str(path))
    try:
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        ).fetchall()
        return [
            (name, connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall())
            if name != "names"
            else (name, connection.execute("SELECT rowid, name FROM names").fetchall())
            for (name,) in names
        ]
    finally:
        connection.close()


def index_is_whole(path: Path) -> None:
    """Raise when the name index does not fit the names, or the file is not whole."""
    connection = apsw.Connection(str(path))
    try:
        connection.execute("INSERT INTO names (names, rank) VALUES ('integrity-check', 1)")
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        assert connection.execute("SELECT count(*) FROM renamed").get == 0
    finally:
        connection.close()


def names_in_index(path: Path) -> dict[str, set[int]]:
    """Each trigram of the name index and the rows that it stands for."""
    connection = apsw.Connection(str(path))
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.v USING fts5vocab(main, names, instance)")
        found: dict[str, set[int]] = {}
        for term, row in connection.execute("SELECT term, doc FROM temp.v"):
            found.setdefault(str(term), set()).add(int(str(row)))
        return found
    finally:
        connection.close()


def everything(path: Path) -> Vector:
    """The position of all that a view has."""
    with Reader(path) as reader:
        return {name: Position(at) for name, at in reader.checkpoints().items()}
