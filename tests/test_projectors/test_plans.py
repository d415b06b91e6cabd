"""No query of the reader may wade through the whole view: SQLite tells how it would go about it."""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from events.ids import FileId
from events.vocabulary.nodes import NodeOnline
from projectors.documents.reader import Reader
from projectors.documents.view import DocumentsView
from tests.test_projectors.tape import CREATED, Tape, a_file, file_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "view.db"
    tape = Tape()
    for node, first in (("n1", 1000), ("n2", 2000)):
        files = [a_file(n, parent=f"/home/d{n % 20}") for n in range(first, first + 300)]
        tape.index(*files, node=node)
        tape.say(NodeOnline(v=1), node)
    with closing(DocumentsView(path)) as view:
        view.adopt(CREATED)
        view.apply(tape.messages)
    return path


_AFTER = FileId(file_id(1007))
_CALLS: dict[str, Callable[[Reader], object]] = {
    "file": lambda reader: reader.file(file_id(1007)),
    "file_with_inode": lambda reader: reader.file_with_inode(2007),
    "file_at": lambda reader: reader.file_at(None, "/home/d7/file 1007.txt"),
    "file_at of a node": lambda reader: reader.file_at("n1", "/home/d7/file 1007.txt"),
    "document": lambda reader: reader.document("node::n1"),
    "documents": lambda reader: reader.documents("node"),
    "counts": lambda reader: reader.counts(),
    "changes": lambda reader: reader.changes({}, limit=10),
    "changes with bodies": lambda reader: reader.changes({}, limit=10, bodies=True),
    "search": lambda reader: reader.search("file 10"),
    "search of a small node": lambda reader: reader.search("file 20", node="n2"),
    "search of a glob": lambda reader: reader.search("*file*10?7*"),
}


def _files(
    node: str | None, parent: str | None, below: str | None, after: FileId | None, deleted: bool
) -> Callable[[Reader], object]:
    return lambda reader: reader.files(node, parent, below=below, after=after, deleted=deleted)


_CALLS |= {
    f"files {given}": _files(*given)
    for given in itertools.product(
        (None, "n1"), (None, "/home/d7"), (None, "/home"), (None, _AFTER), (False, True)
    )
}

# There are few nodes, streams, types and dead letters. The smaller half of the index of places
# counts the deleted files; a search goes over its matches.
_HARMLESS = (
    *("SCAN nodes", "SCAN o", "SCAN tallies", "SCAN dead_letters", "SCAN checkpoints"),
    *("SCAN CONSTANT ROW", "SCAN names VIRTUAL TABLE"),
    "SCAN files USING INDEX files_gone",
)


@pytest.mark.parametrize("call", _CALLS)
def test_goes_by_an_index(view: Path, call: str) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_: object, query: str, bindings: object) -> bool:
        if query.lstrip().startswith("SELECT"):
            asked.append((query, bindings))
        return True

    with Reader(view) as reader:
        reader._connection.exec_trace = note
        assert _CALLS[call](reader)
        reader._connection.exec_trace = None
        assert asked
        for query, bindings in asked:
            plan = reader._connection.execute(f"EXPLAIN QUERY PLAN {query}", bindings)
            steps = [str(step[3]) for step in plan]
            for step in steps:
                assert not step.startswith("SCAN") or step.startswith(_HARMLESS), (query, steps)
                # Sorting is for one path's files and for nodes, never for a page.
                few = "ORDER BY f.deleted" in query or "FROM nodes WHERE" in query
                assert "TEMP B-TREE" not in step or few, (query, steps)


def test_a_short_text_goes_over_the_names_and_nothing_else(view: Path) -> None:
    asked: list[str] = []

    def note(_: object, query: str, bindings: object) -> bool:
        asked.append(query)
        return True

    with Reader(view) as reader:
        reader._connection.exec_trace = note
        assert reader.search("7") != []
        reader._connection.exec_trace = None
        (query,) = (query for query in asked if "LIKE" in query)
        plan = reader._connection.execute(f"EXPLAIN QUERY PLAN {query}", ("%7%", "*7*", 9))
        steps = [str(step[3]) for step in plan]
    # SQLite does not call it covering, but it looks up the row of a match only.
    assert [step for step in steps if step.startswith("SCAN")] == ["SCAN f USING INDEX files_live"]
