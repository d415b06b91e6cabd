"""Paging through changes loses nothing and repeats nothing, whatever happens meanwhile."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from events.ids import file_id_text
from gateway.couch.databases import DATABASES
from projectors.documents import changes, couch, tokens
from projectors.documents.reader import Reader
from projectors.documents.view import DocumentsView
from tests.test_couch.world import Log, by_stream, stream_backwards

if TYPE_CHECKING:
    from collections.abc import Iterator

    from events.consume import Message

AUDIENCE = DATABASES["mosaic"].audience
OPS = DATABASES["ops"].audience


class Replica:
    """What a client has that follows `_changes` and keeps the newest of each document."""

    def __init__(self) -> None:
        self.docs: dict[str, couch.Entry] = {}
        self.position: tokens.Vector = {}
        self.repeated = 0

    def page(self, reader: Reader, limit: int) -> bool:
        """One page; whether that was all."""
        with reader.transaction():
            page = changes.page(reader, AUDIENCE, self.position, limit=limit)
        assert len(page.rows) <= limit
        for row in page.rows:
            before = self.docs.get(row.entry.doc)
            self.repeated += before is not None and before.rev == row.entry.rev
            assert before is None or before.generation <= row.entry.generation
            self.docs[row.entry.doc] = row.entry
        text = changes.token(page.after, page.head.log)
        assert changes.since(text, page.head) == {
            stream: at for stream, at in page.after.items() if at != tokens.Position(0)
        }
        before_total = sum(at.sequence for at in self.position.values())
        self.position = changes.since(text, page.head)
        assert sum(at.sequence for at in self.position.values()) >= before_total
        return page.done

    def pull(self, reader: Reader, limit: int) -> None:
        for _ in range(1000):
            if self.page(reader, limit):
                return
        raise AssertionError(f"never ends at {self.position}")

    def revs(self) -> dict[str, str]:
        return {doc: entry.rev for doc, entry in self.docs.items()}


def everything(reader: Reader) -> dict[str, str]:
    """Every document of the audience and every tombstone."""
    found = {
        row[0]: couch.entry(reader, AUDIENCE, row[0])
        for row in couch.rows(reader, "SELECT doc FROM documents")
    }
    for (raw,) in couch.rows(reader, "SELECT uuid FROM files"):
        doc = f"file::{file_id_text(raw)}"
        found[doc] = couch.entry(reader, AUDIENCE, doc)
    return {doc: entry.rev for doc, entry in found.items() if entry is not None}


ACTIONS = st.sampled_from(
    ["files", "change", "delete", "heartbeat", "configure", "rule", "drop", "annotate", "secret"]
)


def act(log: Log, action: str, data: st.DataObject) -> None:
    known = list(log.files)
    some = st.lists(st.sampled_from(known), min_size=1, max_size=6, unique=True) if known else None
    if action == "files" or (some is None and action in ("change", "delete", "annotate")):
        log.new_files([f"f{i}" for i in range(data.draw(st.integers(1, 8)))])
    elif action == "heartbeat":
        log.register(data.draw(st.sampled_from(["n1", "n2"])))
    elif action == "configure":
        log.configure_node(f"name {len(log.messages)}", data.draw(st.sampled_from(["n1", "n2"])))
    elif action == "rule":
        log.rule(data.draw(st.sampled_from(["a", "b", "c"])), "x")
    elif action == "drop":
        log.drop_rule(data.draw(st.sampled_from(["a", "b", "c"])))
    elif action == "secret":
        log.secrets()
    else:
        assert some is not None
        which = data.draw(some)
        if action == "change":
            log.change_files(which)
        elif action == "delete":
            log.delete_files(which)
        else:
            log.annotate(which)


class Place:
    """A view of the log that is made anew in a folder of its own."""

    def __init__(self, folder: Path, log: Log) -> None:
        self.view = DocumentsView(folder)
        self.view.adopt(log.created)
        self.reader = Reader(folder)

    def close(self) -> None:
        self.reader.close()
        self.view.close()


def views(log: Log, count: int) -> Iterator[list[Place]]:
    with tempfile.TemporaryDirectory() as folder:
        made = [Place(Path(folder) / f"{i}.db", log) for i in range(count)]
        try:
            yield made
        finally:
            for each in made:
                each.close()


@settings(max_examples=60)
@given(data=st.data())
def test_no_limit_loses_or_repeats_while_the_view_changes(data: st.DataObject) -> None:
    log, replica = Log(), Replica()
    for (here,) in views(log, 1):
        applied = 0
        for action in data.draw(st.lists(ACTIONS, max_size=14)):
            act(log, action, data)
            if data.draw(st.booleans()):
                here.view.apply(log.messages[applied:])
                applied = len(log.messages)
            for _ in range(data.draw(st.integers(0, 2))):
                replica.page(here.reader, data.draw(st.integers(1, 5)))
        here.view.apply(log.messages[applied:])
        replica.pull(here.reader, data.draw(st.integers(1, 20)))
        assert replica.revs() == everything(here.reader)
        assert replica.repeated == 0
        bodies = {doc: entry.body for doc, entry in replica.docs.items()}
        found = {
            doc: entry.body
            for doc in bodies
            if (entry := couch.entry(here.reader, AUDIENCE, doc)) is not None
        }
        assert bodies == found


@settings(max_examples=60)
@given(data=st.data())
def test_a_client_may_move_between_views_that_met_the_streams_otherwise(
    data: st.DataObject,
) -> None:
    log, replica = Log(), Replica()
    for places in views(log, 2):
        for action in data.draw(st.lists(ACTIONS, max_size=14)):
            act(log, action, data)
        cut = data.draw(st.integers(0, len(log.messages)))
        orders = [
            lambda messages: messages,
            data.draw(st.sampled_from([by_stream, stream_backwards])),
        ]
        for place, order in zip(places, orders, strict=True):
            place.view.apply(order(log.messages[:cut]))
        for _ in range(data.draw(st.integers(0, 4))):
            replica.page(data.draw(st.sampled_from(places)).reader, data.draw(st.integers(1, 4)))
        # One view has all of it in its own order, the other goes on where it was.
        places[0].view.apply(log.messages[cut:])
        second: list[Message] = orders[1](log.messages[cut:])
        places[1].view.apply(second)
        for _ in range(data.draw(st.integers(0, 3))):
            replica.page(data.draw(st.sampled_from(places)).reader, data.draw(st.integers(1, 4)))
        last = data.draw(st.sampled_from(places)).reader
        replica.pull(last, 3)
        assert replica.revs() == everything(last)
        for doc, entry in replica.docs.items():
            now = couch.entry(last, AUDIENCE, doc)
            assert now is not None
            assert now.body == entry.body


@settings(max_examples=30)
@given(data=st.data())
def test_backwards_is_forwards_turned_around(data: st.DataObject) -> None:
    log = Log()
    for (here,) in views(log, 1):
        for action in data.draw(st.lists(ACTIONS, max_size=10)):
            act(log, action, data)
        here.view.apply(log.messages)
        forward = changes.page(here.reader, AUDIENCE, {}, limit=10_000)
        found: list[tuple[couch.Entry, tokens.Vector]] = []
        at: changes.Back | None = None
        while True:
            rows, at, head = changes.page_back(
                here.reader, AUDIENCE, at, limit=data.draw(st.integers(1, 6))
            )
            found += rows
            if at is None:
                break
        assert [entry for entry, _ in found] == [row.entry for row in forward.rows][::-1]
        # Each token of the way back is a good one to go on from.
        for index, (_, vector) in enumerate(found):
            behind = changes.page(here.reader, AUDIENCE, vector, limit=10_000).rows
            later = {entry.doc for entry, _ in found[:index]}
            assert later <= {row.entry.doc for row in behind}
        assert head.log == forward.head.log


TEXT = st.text(st.sampled_from("file:-0189abcfgAZ\u00e4"), max_size=44)


@given(
    TEXT | st.binary(min_size=16, max_size=16).map(lambda raw: f"file::{file_id_text(raw)}"),
    st.lists(st.binary(min_size=16, max_size=16), max_size=8),
    st.integers(0, 44),
)
def test_a_bound_of_ids_is_the_same_for_uuids(text: str, raws: list[bytes], kept: int) -> None:
    for bound in (text, text[:kept], text + "\0", "file::" + text[:kept]):
        low = couch.uuid_from(bound)
        for raw in [*raws, bytes(16), b"\xff" * 16]:
            doc = f"file::{file_id_text(raw)}"
            assert (low is not None and raw >= low) == (doc >= bound), (bound, doc)


def test_tokens_are_read_by_everybody() -> None:
    vector: dict[str, Any] = {"FILES": tokens.Position(7, 3), "NODES": tokens.Position(9)}
    text = changes.token(vector, 5)
    assert int(text.partition("-")[0]) == 16
    assert tokens.decode(text) == {**vector, "@": tokens.Position(5)}


def test_a_page_of_covered_changes_gets_past_a_message_read_to_its_last_change() -> None:
    log = Log()
    (file,) = log.new_files(["late.txt"])
    log.annotate([file])
    for number in range(5):
        log.rule(f"r{number}", "x")
    replica = Replica()
    replica.position = {"ANNOTATIONS": tokens.Position(0, 1), "CATALOG": tokens.Position(5)}
    for (here,) in views(log, 1):
        here.view.apply(by_stream(log.messages))
        replica.pull(here.reader, 2)
    assert list(replica.docs) == [f"file::{file}"]
