"""The view against a plain model, over whatever messages Hypothesis can think of."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from events.codec import MESSAGE_ID, TYPE, VERSION
from events.machine.database import DiskFull
from events.moments import moment
from events.paths import join
from events.vocabulary import catalog, nodes, notices, results
from events.vocabulary.files import (
    File,
    FileChanged,
    FileDeleted,
    FileIndexed,
    FileRenamed,
    FileRestored,
    GoneFile,
    MovedFile,
)
from projectors.documents import reader as reading
from projectors.documents import tokens
from projectors.documents.reader import FileRow, Reader
from projectors.documents.view import DocumentsView, discard
from tests.test_projectors.meaning import everything, index_is_whole, meaning
from tests.test_projectors.model import Model
from tests.test_projectors.tape import CREATED, Tape, a_file, cut, file_id

if TYPE_CHECKING:
    from events.consume import Message
    from events.vocabulary import Event
    from projectors.documents.tokens import Vector
    from tests.conftest import LogRecords

_STEPS = ("index", "change", "rename", "swap", "delete", "restore", "speak_for_others", "tell_old")
_NODES = st.sampled_from(["n1", "n2"])
_NUMBERS = st.integers(0, 11)
_PARENTS = st.sampled_from(["/", "/home", "/home/a", "/home/a/b", "/home-2", "/home/ä"])
# Letters that have case, that fold oddly, that mean something to a query, and plain words.
_PIECES = st.sampled_from(
    [
        *"aAbBzZ09._-%*?[]\"'^|&()\\ äÄßẞſKİıǅΣσς𐐀\n�",
        "abc",
        "ABC",
        "xyz",
        "report",
        "Straße",
        "STRASSE",
        "ΣΊΣΥΦΟΣ",
        "写真集",
        "👩\u200d👧",
        "ﬁle",
    ]
)
_NAMES = st.lists(_PIECES, min_size=1, max_size=5).map("".join)
_TEXTS = st.one_of(
    _NAMES, st.lists(st.one_of(_PIECES, st.sampled_from("*?")), min_size=1).map("".join)
)
_IDS = st.sampled_from(["x", "y"])


class ViewMachine(RuleBasedStateMachine):
    """Messages are stored by most rules, and applied by `deliver`."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="view-"))
        self.path = self.folder / "view.db"
        self.view = DocumentsView(self.path)
        self.view.adopt(CREATED)
        self.model = Model()
        # Where every file really is, by the agents' own books: node, file, live.
        self.disk: dict[int, tuple[str, File, bool]] = {}
        self.statements: dict[str, int] = {}
        self.tape = Tape()
        self.given = 0
        # Whether the view may have changed since it was looked at.
        self.touched = True

    def teardown(self) -> None:
        if not hasattr(self, "view"):
            return
        self.view.close()
        self._any_batches_and_any_interleaving_of_streams_mean_the_same()
        shutil.rmtree(self.folder)

    def _any_batches_and_any_interleaving_of_streams_mean_the_same(self) -> None:
        given = self.tape.messages[: self.given]
        by_stream = sorted(given, key=lambda message: message.stream)
        expected = meaning(self.path)
        for number, batches in enumerate(
            (cut(given, [1]), cut(given, [7, 2]), cut(by_stream, [5]))
        ):
            path = self.folder / f"again-{number}.db"
            view = DocumentsView(path)
            view.adopt(CREATED)
            for batch in batches:
                view.apply(batch)
            view.close()
            assert meaning(path) == expected
            index_is_whole(path)

    # Files

    def _say_files(self, kind: type[Event], node: str, files: list[Any]) -> None:
        self.tape.say(kind(files=files), node, writer=node[1])

    @rule(
        steps=st.lists(
            st.tuples(
                st.sampled_from(_STEPS),
                _NODES,
                _NUMBERS,
                _PARENTS,
                _NAMES,
                st.integers(0, 2**63 - 1),
            ),
            min_size=1,
            max_size=12,
        )
    )
    def something_happens_on_the_disks(
        self, steps: list[tuple[str, str, int, str, str, int]]
    ) -> None:
        for step, node, number, parent, name, size in steps:
            match step:
                case "index":
                    self._index(node, number, parent, name)
                case "restore":
                    self._restore(number)
                case _:
                    live = [each for each, (_, _, there) in self.disk.items() if there]
                    if live:
                        getattr(self, f"_{step}")(
                            live, live[number % len(live)], parent, name, size
                        )

    def _index(self, node: str, number: int, parent: str, name: str) -> None:
        """One to three new files, of like names."""
        files = []
        for new in range(len(self.disk), len(self.disk) + number % 3 + 1):
            file = a_file(new, f"{name}{new % 3 or ''}", parent=parent)
            self.disk[new] = (node, file, True)
            files.append(file)
        self._say_files(FileIndexed, node, files)

    def _change(self, live: list[int], number: int, parent: str, name: str, size: int) -> None:
        node, file, _ = self.disk[number]
        file = a_file(number, file.name, parent=file.parent, v=file.v + 1, size=size)
        self.disk[number] = (node, file, True)
        self._say_files(FileChanged, node, [file])

    def _moved(self, number: int, parent: str, name: str) -> MovedFile:
        node, file, _ = self.disk[number]
        moved = a_file(number, name, parent=parent, v=file.v + 1, size=file.size)
        self.disk[number] = (node, moved, True)
        return MovedFile(
            **{field: getattr(moved, field) for field in File.__struct_fields__},
            was_parent=file.parent,
            was_name=file.name,
        )

    def _rename(self, live: list[int], number: int, parent: str, name: str, size: int) -> None:
        """Once or twice, told in one message."""
        names = [name, f"{name}!"][: size % 2 + 1]
        moved = [self._moved(number, parent, each) for each in names]
        self._say_files(FileRenamed, self.disk[number][0], moved)

    def _swap(self, live: list[int], one: int, parent: str, name: str, size: int) -> None:
        other = live[size % len(live)]
        (node, a, _), (its, b, _) = self.disk[one], self.disk[other]
        if node == its and one != other:
            moved = [self._moved(one, b.parent, b.name), self._moved(other, a.parent, a.name)]
            self._say_files(FileRenamed, node, moved)

    def _delete(self, live: list[int], number: int, parent: str, name: str, size: int) -> None:
        node, file, _ = self.disk[number]
        v = file.v + 1
        self.disk[number] = (node, a_file(number, file.name, parent=file.parent, v=v), False)
        gone = GoneFile(id=file.id, parent=file.parent, name=file.name, v=v)
        self._say_files(FileDeleted, node, [gone])

    def _restore(self, number: int) -> None:
        dead = [each for each, (_, _, there) in self.disk.items() if not there]
        if dead:
            number = dead[number % len(dead)]
            node, file, _ = self.disk[number]
            back = a_file(number, file.name, parent=file.parent, v=file.v + 1)
            self.disk[number] = (node, back, True)
            self._say_files(FileRestored, node, [back])

    def _speak_for_others(
        self, live: list[int], number: int, parent: str, name: str, size: int
    ) -> None:
        other = "n2" if self.disk[number][0] == "n1" else "n1"
        v = self.disk[number][1].v + size % 3
        if size % 2:
            gone = GoneFile(id=file_id(number), parent=parent, name=name, v=v)
            self._say_files(FileDeleted, other, [gone])
        else:
            self._say_files(FileChanged, other, [a_file(number, name, v=v)])

    def _tell_old(self, live: list[int], number: int, parent: str, name: str, size: int) -> None:
        """The present version or an older one, with something else in it."""
        node, file, _ = self.disk[number]
        v = max(1, file.v - size % 2)
        if size % 3:
            self._say_files(FileChanged, node, [a_file(number, name, v=v)])
        else:
            gone = GoneFile(id=file.id, parent=parent, name=name, v=v)
            self._say_files(FileDeleted, node, [gone])

    # Everything else

    @rule(id_=_IDS, labels=st.lists(_IDS, max_size=2))
    def label(self, id_: str, labels: list[str]) -> None:
        body = catalog.LabelsBody(file_id=id_, labels=labels)
        event = (
            catalog.LabelsAssigned(id=id_, body=body) if labels else catalog.LabelsCleared(id=id_)
        )
        self.tape.say(event, id=f"catalog {len(self.tape.messages)}")

    @rule(key=_IDS, value=st.none() | st.integers(-5, 5) | st.text(max_size=5))
    def setting(self, key: str, value: int | str | None) -> None:
        event = catalog.SettingChanged(id=key, body=catalog.SettingBody(key=key, value=value))
        self.tape.say(event, id=f"catalog {len(self.tape.messages)}")

    @rule(node=_NODES, name=_IDS, remove=st.booleans())
    def configure_node(self, node: str, name: str, remove: bool) -> None:
        body = catalog.NodeBody(friendly_name=name)
        self.tape.say(
            catalog.NodeConfigured(id=node, body=body), id=f"catalog {len(self.tape.messages)}"
        )
        if remove:
            self.tape.say(catalog.NodeRemoved(id=node), id=f"catalog {len(self.tape.messages)}")

    @rule(
        node=_NODES,
        kind=st.sampled_from(["registered", "online", "offline", "status"]),
        step=st.integers(-1, 3),
    )
    def node_speaks(self, node: str, kind: str, step: int) -> None:
        counter = f"{node} {kind == 'status'}"
        v = max(1, self.statements.get(counter, 0) + step)
        self.statements[counter] = max(v, self.statements.get(counter, 0))
        event: Event
        match kind:
            case "online":
                event = nodes.NodeOnline(v=v)
            case "offline":
                event = nodes.NodeOffline(v=v)
            case "status":
                event = nodes.NodeStatus(v=v, subsystems=[], files=v, outbox=0)
            case _:
                event = nodes.NodeRegistered(
                    v=v,
                    friendly_name=node,
                    hostname=node,
                    platform="linux",
                    agent_version="1",
                    watch_paths=[],
                    storage=[],
                )
        self.tape.say(event, node, writer=node[1])

    @rule(node=_NODES)
    def utilization(self, node: str) -> None:
        event = nodes.UtilizationMeasured(taken_at=moment(1000 * self.given), filesystems=[])
        self.tape.say(event, node, writer=node[1])

    @rule(node=_NODES, files=st.lists(_IDS, max_size=3), remove=st.booleans())
    def annotate(self, node: str, files: list[str], remove: bool) -> None:
        event: Event = results.AnnotationRemoved(file_ids=files)
        if not remove:
            found = [
                results.Annotation(file_id=each, data={"n": i}) for i, each in enumerate(files)
            ]
            event = results.AnnotationWritten(annotations=found)
        self.tape.say(event, node, "ocr", writer=node[1])

    @rule(node=_NODES, files=st.lists(_IDS, max_size=3), remove=st.booleans())
    def replicate(self, node: str, files: list[str], remove: bool) -> None:
        event: Event = results.ReplicaRemoved(file_ids=files)
        if not remove:
            found = [
                results.Replica(file_id=each, remote_key=each, size=1, mtime=1) for each in files
            ]
            event = results.ReplicaWritten(status="current", replicas=found)
        self.tape.say(event, node, "s3", writer=node[1])

    @rule(node=_NODES, files=st.lists(_IDS, max_size=3))
    def access(self, node: str, files: list[str]) -> None:
        found = [results.Access(file_id=each, at=moment(self.given)) for each in files]
        self.tape.say(results.AccessRecorded(accesses=found), node, writer=node[1])

    @rule(
        source=_IDS,
        condition=_IDS,
        event=st.sampled_from(
            [
                notices.NoticeRaised(severity="error", title="t", message="m"),
                notices.NoticeResolved(),
                notices.NoticeAcknowledged(by="me"),
            ]
        ),
    )
    def notice(self, source: str, condition: str, event: Event) -> None:
        self.tape.say(event, source, condition, id=f"notice {len(self.tape.messages)}")

    @rule()
    def audit(self) -> None:
        self.tape.say(notices.AuditRecorded(action="a", outcome="ok"), "login", id="audit")

    # What should not be on a stream

    @rule(
        stream=st.sampled_from(sorted(CREATED)),
        subject=st.sampled_from(
            ["mosaic.files.n1.indexed", "mosaic.nodes.n1.online", "mosaic.x", "mosaic.audit.a", ""]
        ),
        headers=st.none()
        | st.dictionaries(
            st.sampled_from([TYPE, VERSION, MESSAGE_ID, "\udcff"]),
            st.sampled_from(["file.indexed", "1", "2", "", "\udcff", "x\0"]),
        ),
        body=st.binary(max_size=20) | st.sampled_from([b'{"type":"file.indexed","files":[]}']),
    )
    def garbage(
        self, stream: str, subject: str, headers: dict[str, str] | None, body: bytes
    ) -> None:
        self.tape.store(subject, headers, body, stream)

    @rule(name=st.sampled_from(["", "a/b", "a\0b"]), parent=st.sampled_from(["/x", "x", ""]))
    def impossible_place(self, name: str, parent: str) -> None:
        file = File(id=file_id(99), inode=1, parent=parent, name=name, size=1, mtime=1, v=1)
        self.tape.index(a_file(98), file, node="n1")

    @rule()
    def of_the_future(self) -> None:
        message = self.tape.index(a_file(97))
        assert message.headers is not None
        message.headers[VERSION] = "2"

    @rule()
    def beyond_every_number(self) -> None:
        """Fits its type, and no column: it is found out when it is written."""
        node = catalog.NodeConfigured(id="n3", body=catalog.NodeBody())
        self.tape.say(node, id=f"catalog {len(self.tape.messages)}")
        self.tape.say(nodes.NodeOnline(v=2**63 - 1), "n3", id=f"n3 {len(self.tape.messages)}")

    @rule(back=st.integers(1, 30))
    def retry(self, back: int) -> None:
        """A message is stored again after the server has forgotten its id."""
        if back <= len(self.tape.messages):
            again = self.tape.messages[-back]
            self.tape.store(again.subject, again.headers, again.body, again.stream)

    # The log comes to the view

    @rule(
        upto=st.integers(1, 40),
        sizes=st.lists(st.integers(1, 20), min_size=1, max_size=3),
        again=st.lists(st.integers(0, 400), max_size=5),
    )
    def deliver(self, upto: int, sizes: list[int], again: list[int]) -> None:
        """The next messages, and before them some that were delivered already."""
        new = self.tape.messages[self.given : self.given + upto]
        old = [self.tape.messages[i] for i in again if i < self.given]
        for batch in cut([*old, *new], sizes):
            self._apply(batch)
        self.given += len(new)
        self.model.apply(new)

    def _apply(self, batch: list[Message]) -> None:
        self.touched = True
        before = self.view.n
        applied = self.view.apply(batch)
        assert applied.n == self.view.n >= before

    @rule(room=st.integers(0, 3))
    def deliver_to_a_full_disk(self, room: int) -> None:
        """The view may grow by a few pages only; what did not fit is delivered again."""
        new = self.tape.messages[self.given : self.given + 40]
        before = meaning(self.path)
        connection = self.view._connection
        pages = int(str(connection.execute("PRAGMA page_count").get))
        connection.execute(f"PRAGMA max_page_count = {pages + room}")
        try:
            self.view.apply(new)
        except DiskFull:
            # One by one, as after a message that could not be written, a part may be in.
            if not self._beyond(new):
                assert meaning(self.path) == before
        finally:
            connection.execute("PRAGMA max_page_count = 1073741823")
        self._apply(new)
        self.given += len(new)
        self.model.apply(new)

    def _beyond(self, messages: list[Message]) -> bool:
        return any(b"9223372036854775807" in message.body for message in messages)

    @rule()
    def reopen(self) -> None:
        self.view.close()
        self.view = DocumentsView(self.path)

    # What has to hold whenever the view has committed

    @precondition(lambda self: hasattr(self, "view") and self.touched)
    @invariant()
    def rows_are_the_models(self) -> None:
        self.touched = False
        index_is_whole(self.path)
        with Reader(self.path) as reader:
            files = reader.files(limit=1000, deleted=True)
            assert {_plain(row) for row in files} == self.model.rows()
            assert len(files) == len(self.model.files)
            live = [row for row in files if row.deleted_at is None]
            assert reader.files(limit=1000) == live
            found = {
                doc: (type_, generation, body)
                for doc, (type_, generation, body) in self.model.documents.items()
            }
            stored = meaning(self.path)
            assert {row[:3] for row in stored["documents"]} == {
                (doc, type_, generation) for doc, (type_, generation, _) in found.items()
            }
            for doc, (_, generation, body) in found.items():
                document = reader.document(doc)
                if body is None:
                    assert document is None
                else:
                    assert document is not None
                    assert document["_rev"].startswith(f"{generation}-")
                    assert {
                        k: v for k, v in document.items() if k not in ("_id", "_rev", "type")
                    } == {k: v for k, v in body.items() if k not in ("_id", "_rev", "type")}
            assert {row[:2] for row in stored["dead letters"]} == self.model.dead
            gone = sum(held.deleted is not None for held in self.model.files.values())
            alive = sum(body is not None for _, _, body in found.values())
            assert reader.counts() == {
                "files": len(files) - gone,
                "deleted_files": gone,
                "documents": len(files) + alive,
                "dead_letters": len(stored["dead letters"]),
            }
            assert reader.checkpoints() == {**dict.fromkeys(CREATED, 0), **self.model.reached}

    @rule(
        text=_TEXTS,
        deleted=st.booleans(),
        node=st.none() | st.sampled_from(["n1", "n2", "n9"]),
        small=st.sampled_from([0, 30_000]),
    )
    def search(self, text: str, deleted: bool, node: str | None, small: int) -> None:
        """By the index or folder by folder, as for a node of many or of few files."""
        with Reader(self.path) as reader, pytest.MonkeyPatch.context() as patch:
            patch.setattr(reading, "_SMALL_NODE", small)
            found = reader.search(text, limit=1000, deleted=deleted, node=node)
        ids = [row.id for row in found]
        assert sorted(ids) == sorted(self.model.matching(text, deleted=deleted, node=node))

    @precondition(lambda self: self.model.files)
    @rule(
        place=st.integers(0, 50),
        start=st.integers(0, 4),
        length=st.integers(1, 7),
        up=st.booleans(),
    )
    def search_a_part_of_a_name(self, place: int, start: int, length: int, up: bool) -> None:
        held = list(self.model.files.values())[place % len(self.model.files)]
        if part := held.file.name[start : start + length]:
            part = part.upper() if up and part.isascii() else part
            for small in (0, 30_000):
                self.search(part, True, held.node, small)
            self.search(part, False, None, 0)

    @rule(
        limit=st.integers(1, 4),
        node=st.none() | _NODES,
        parent=st.none() | _PARENTS,
        below=st.none() | _PARENTS,
        deleted=st.booleans(),
    )
    def pages(
        self, limit: int, node: str | None, parent: str | None, below: str | None, deleted: bool
    ) -> None:
        expected = {
            held.file.id
            for held in self.model.files.values()
            if node in (None, held.node)
            and parent in (None, held.file.parent)
            and (below in (None, "/", held.file.parent) or held.file.parent.startswith(f"{below}/"))
            and (deleted or held.deleted is None)
        }
        rows: list[FileRow] = []
        with Reader(self.path) as reader:
            while page := reader.files(
                node,
                parent,
                below=below,
                after=rows[-1].id if rows else None,
                limit=limit,
                deleted=deleted,
            ):
                assert len(page) <= limit
                rows += page
                assert len(rows) <= len(expected)
        assert {row.id for row in rows} == expected
        for each in ("n1", "n2"):
            places = [(row.parent, row.name) for row in rows if row.node == each]
            assert places == sorted(places)

    @precondition(lambda self: self.model.files)
    @rule(place=st.integers(0, 50), node=st.none() | _NODES)
    def at_a_path(self, place: int, node: str | None) -> None:
        held = list(self.model.files.values())[place % len(self.model.files)]
        same = [
            other
            for other in self.model.files.values()
            if (other.file.parent, other.file.name) == (held.file.parent, held.file.name)
            and node in (None, other.node)
        ]
        with Reader(self.path) as reader:
            found = reader.file_at(node, join(held.file.parent, held.file.name))
            if not same:
                assert found is None
                return
            assert found is not None
            assert found.id in {other.file.id for other in same}
            assert (found.deleted_at is None) == any(other.deleted is None for other in same)

    @rule(
        vector=st.dictionaries(
            st.sampled_from(sorted(CREATED)),
            st.builds(tokens.Position, st.integers(0, 30), st.integers(0, 3)),
        ),
        limit=st.integers(1, 5),
        bodies=st.booleans(),
        interleaved=st.booleans(),
    )
    def changes(self, vector: Vector, limit: int, bodies: bool, interleaved: bool) -> None:
        """From any position, page by page through tokens: all that changed behind it, and once.

        The position may come from a view that met the streams in another order.
        """
        path = self._by_stream() if interleaved else self.path
        given: list[str] = []
        expected = self.model.changed_behind(vector)
        with Reader(path) as reader:
            while page := reader.changes(vector, limit=limit, bodies=bodies):
                assert len(page) <= limit
                for change in page:
                    given.append(change.doc)
                    self._is_current(reader, change.doc, change.document, change.deleted, bodies)
                vector = tokens.decode(tokens.encode(page[-1].after))
                assert len(given) <= len(self.model.changed)
            assert len(given) == len(set(given))
            assert set(given) == expected
            assert reader.changes(everything(path)) == []

    def _by_stream(self) -> Path:
        """The same view, made from one stream after the other, in an order of its own."""
        path = self.folder / "interleaved.db"
        discard(path)
        view = DocumentsView(path)
        view.adopt(CREATED)
        given = self.tape.messages[: self.given]
        for batch in cut(sorted(given, key=lambda message: message.stream), [6]):
            view.apply(batch)
        view.close()
        return path

    def _is_current(
        self,
        reader: Reader,
        doc: str,
        body: dict[str, Any] | None,
        deleted: bool,
        bodies: bool,
    ) -> None:
        document = reader.document(doc)
        assert deleted == (document is None)
        assert body == (document if bodies else None)


def _plain(row: FileRow) -> tuple[Any, ...]:
    return (
        *(row.id, row.node, row.inode, row.parent, row.name, row.size, row.mtime),
        *(row.mime, row.v, row.deleted_at),
    )


@pytest.fixture(autouse=True)
def dead_letters_are_no_surprise(our_log: LogRecords) -> None:
    our_log.allow("dead letter")


ViewMachine.TestCase.settings = settings(settings.default, max_examples=60, stateful_step_count=30)
TestViewMachine = ViewMachine.TestCase
