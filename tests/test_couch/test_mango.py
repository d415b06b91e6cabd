"""Mango: SQL lets everything through that a selector matches, and Python decides."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.ids import file_id_text
from events.vocabulary.files import File, FileIndexed
from gateway.couch.answers import CouchError
from gateway.couch.databases import DATABASES
from gateway.couch.find import Query, _ordered, _slice
from gateway.couch.mango import selector, sql
from projectors.documents import couch
from projectors.documents.reader import FileRow, Reader
from projectors.documents.view import DocumentsView
from tests.test_couch.world import NODE, Log

if TYPE_CHECKING:
    from collections.abc import Iterator

OPS = DATABASES["ops"].audience


@pytest.mark.parametrize(
    ("given_", "document", "holds"),
    [
        ({}, {}, True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a.b": 1}, {"a": {"b": 1}}, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, True),
        ({"a\\.b": 1}, {"a.b": 1}, True),
        ({"a.1": 5}, {"a": [4, 5]}, True),
        ({"a": {"$gt": 1, "$lt": 3}}, {"a": 2}, True),
        ({"a": {"$gt": 1}}, {"a": "x"}, True),
        ({"a": {"$lt": "x"}}, {"a": None}, True),
        ({"a": {"$ne": 1}}, {}, False),
        ({"a": {"$exists": False}}, {}, True),
        ({"$not": {"a": 1}}, {}, False),
        ({"$not": {"a": 1}}, {"a": 2}, True),
        ({"$not": {"a": {"$exists": True}}}, {}, True),
        ({"$nor": [{"a": 1}, {"b": 2}]}, {"a": 3, "b": 3}, True),
        ({"$nor": [{"a": 1}, {"b": 2}]}, {"a": 1, "b": 3}, False),
        ({"$and": [{"a": 1}, {"$or": [{"b": 1}, {"b": 2}]}]}, {"a": 1, "b": 2}, True),
        ({"a": {"$in": [1, 2]}}, {"a": [2, 9]}, True),
        ({"a": {"$nin": [1, 2]}}, {"a": 3}, True),
        ({"a": {"$all": [1, 2]}}, {"a": [2, 3, 1]}, True),
        ({"a": {"$all": [1, 4]}}, {"a": [2, 3, 1]}, False),
        ({"a": {"$size": 2}}, {"a": [1, 2]}, True),
        ({"a": {"$mod": [4, -1]}}, {"a": -5}, True),
        ({"a": {"$type": "boolean"}}, {"a": True}, True),
        ({"a": {"$type": "null"}}, {"a": None}, True),
        ({"a": {"$type": "object"}}, {"a": {}}, True),
        ({"a": {"$beginsWith": "ab"}}, {"a": "abc"}, True),
        ({"a": {"$regex": "^[a-c]+$"}}, {"a": "abc"}, True),
        ({"a": {"$not": {"$regex": "b"}}}, {"a": "abc"}, False),
        ({"a": {"$elemMatch": {"$gt": 3}}}, {"a": [1, 4]}, True),
        ({"a": {"$elemMatch": {"b": 1}}}, {"a": [{"b": 2}, {"b": 1}]}, True),
        ({"a": {"$allMatch": {"$gt": 3}}}, {"a": []}, False),
        ({"a": {"$keyMapMatch": {"$eq": "k"}}}, {"a": {"k": 1}}, True),
        ({"a": {}}, {"a": {}}, True),
        ({"a.b": 1}, {"a": 5}, False),
        ({"a.b": {"$exists": False}}, {"a": 5}, False),
    ],
)
def test_the_meaning_of_selectors(
    given_: dict[str, Any], document: dict[str, Any], holds: bool
) -> None:
    assert selector.matches(selector.parse(given_), document) is holds


def test_a_regular_expression_cannot_hold_the_gateway() -> None:
    bomb = selector.parse({"a": {"$regex": "(a+)+$"}})
    assert not selector.matches(bomb, {"a": "a" * 50_000 + "b"})
    for wrong in ("(?=a)", "(a)\\1(", "((((x{1,200}){1,200}){1,200})"):
        with pytest.raises(CouchError):
            selector.parse({"a": {"$regex": wrong}})


NAMES = ["a.txt", "b.txt", "Abc", "abc", "x\U0010ffff", "\u00e4\u00f6.jpg", 'q"uote', "ab"]
FOLDERS = ["/", "/data", "/data/a", "/data/ab", "/data2"]
TEXTS = st.sampled_from(
    [*NAMES, *FOLDERS, "", "a", "/d", "/data/a/Abc", NODE, "text/plain", "file", "active"]
)
NUMBERS = st.sampled_from([0, 1, 2, 10, 10.5, -1, 2**53 + 1, 2**62, 1e300])
SCALARS = (
    TEXTS | NUMBERS | st.none() | st.booleans() | st.sampled_from(["2023-11-14T22:13:20.000Z"])
)
FIELDS = st.sampled_from(
    [
        "_id",
        "file_id",
        "type",
        "name",
        "size",
        "inode",
        "mtime",
        "mtime_ns",
        "status",
        "deleted_at",
        "mime_type",
        "source",
        "source.node_id",
        "source.export_path",
        "source.export_parent",
        "source.nothing",
        "name.nothing",
        "nothing",
        "labels",
        "data.width",
        "enabled",
        "settings.bucket",
        "secrets",
        "password_hash",
    ]
)
TESTS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"]), SCALARS),
    st.tuples(st.sampled_from(["$in", "$nin", "$all"]), st.lists(SCALARS, max_size=3)),
    st.tuples(st.just("$beginsWith"), TEXTS),
    st.tuples(st.just("$regex"), st.sampled_from(["a", "^/data", "t$"])),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(st.just("$type"), st.sampled_from(["string", "number", "array"])),
    st.tuples(st.just("$mod"), st.just([2, 0])),
).map(lambda pair: {pair[0]: pair[1]})
CONDITIONS = TESTS | TESTS.map(lambda test: {"$not": test}) | SCALARS
LEAVES = st.dictionaries(FIELDS, CONDITIONS, min_size=1, max_size=2)
SELECTORS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, max_size=3)).map(
            lambda pair: {pair[0]: pair[1]}
        ),
        inner.map(lambda each: {"$not": each}),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    log = Log()
    log.register()
    for folder in FOLDERS:
        made = log.new_files(NAMES, parent=folder, size=len(folder))
        log.delete_files(made[:1])
        log.change_files(made[1:3], size=2**60, mtime=-5)
    log.add(
        FileIndexed(
            files=[
                File(
                    id=next(log._file_ids), inode=2**62, parent="/", name="n", size=0, mtime=0, v=1
                )
            ]
        ),
        NODE,
    )
    files = list(log.files)
    log.label(files[0], "a.txt", "b.txt")
    log.annotate(files[:4], width=10, name="abc", size=2)
    log.annotate(files[4:6], "other", width=None, labels=["a.txt"])
    log.rule("r", "abc")
    log.secrets()
    log.configure_node("abc")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "view.db"
        view = DocumentsView(path)
        view.adopt(log.created)
        view.apply(log.messages)
        with Reader(path) as reader:
            yield reader
        view.close()


def all_of(reader: Reader) -> list[couch.Entry]:
    return couch.listing(reader, OPS, couch.Span(), descending=False, limit=10_000)


@settings(max_examples=300)
@given(SELECTORS)
def test_sql_and_python_agree(reader: Reader, given_: dict[str, Any]) -> None:
    tree = selector.parse(given_)
    wanted = [each.doc for each in all_of(reader) if selector.matches(tree, each.document())]
    query = Query(tree, 10_000, 0, None, [], False, {}, False)
    found = _slice(reader, query, OPS, "", 10_000)
    assert found.done
    assert found.documents == [each.body for each in all_of(reader) if each.doc in set(wanted)], (
        sql.for_files(tree),
        sql.for_documents(tree),
    )


@settings(max_examples=60)
@given(
    LEAVES,
    st.sampled_from(["name", "size", "mtime", "source.export_path", "deleted_at", "type"]),
    st.booleans(),
    st.integers(0, 30),
)
def test_the_order_is_that_of_the_values(
    reader: Reader, given_: dict[str, Any], field: str, descending: bool, limit: int
) -> None:
    tree, path = selector.parse(given_), selector.split(field)
    query = Query(tree, limit, 0, None, [path], descending, {}, False)
    found = [each.document() for each in _ordered(reader, query, OPS, limit)[0]]
    every = [each.document() for each in all_of(reader)]
    fitting = [each for each in every if selector.matches(tree, each) and selector.has(each, path)]
    values = sorted(
        (selector.field(each, path) for each in fitting),
        key=selector.sort_key,
        reverse=descending,
    )
    assert [selector.field(each, path) for each in found] == values[:limit]


@given(
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.integers(0, 10**13),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
def test_a_file_is_written_as_the_reader_has_it(
    mtime: int, deleted: int | None, name: str, parent: str
) -> None:
    raw = bytes(range(16))
    row = (1, raw, NODE, 7, "/" + parent, name, 5, mtime, "text/plain", 3, deleted)
    entry = couch.file_entry(row)
    uuid = entry.doc.removeprefix("file::")
    same = FileRow(file_id_text(raw), *row[2:], 1)
    assert uuid == same.id
    assert entry.document() == same.document()


def test_a_query_uses_the_index_of_places(reader: Reader) -> None:
    tree = selector.parse({"source.export_parent": "/data", "name": {"$gt": "b"}})
    assert sql.for_files(tree).by == "place"
    assert sql.for_files(selector.parse({"size": 5})).by is None
    assert sql.for_files(selector.parse({"type": "node"})) == sql.FALSE
