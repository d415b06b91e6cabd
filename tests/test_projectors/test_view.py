"""Single cases of the document view that a state machine does not meet often enough."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import apsw
import pytest

from events.codec import MESSAGE_ID, VERSION
from events.machine.database import DatabaseCorrupt, DatabaseFailed, DiskFull
from events.moments import moment
from events.vocabulary import catalog, nodes, notices, results
from events.vocabulary.files import FileIndexed, FileRenamed, MovedFile
from projectors.documents import schema
from projectors.documents import view as view_module
from projectors.documents.reader import NoView, Reader
from projectors.documents.tokens import Position
from projectors.documents.view import NAMED_DOCS, DocumentsView, copy_view, discard
from projectors.view import StaleView
from tests.test_projectors.meaning import contents, everything, index_is_whole, meaning
from tests.test_projectors.tape import CREATED, Tape, a_file, file_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from events.consume import Message
    from tests.conftest import LogRecords


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "view.db"


@pytest.fixture
def view(path: Path) -> Iterator[DocumentsView]:
    with closing(a_view(path)) as view:
        yield view


def a_view(path: Path) -> DocumentsView:
    view = DocumentsView(path)
    view.adopt(CREATED)
    return view


def files_in(path: Path) -> list[str]:
    with Reader(path) as reader:
        return [row.name for row in reader.files(limit=100_000)]


def applied_rows(path: Path) -> int:
    connection = apsw.Connection(str(path))
    try:
        return int(str(connection.execute("SELECT count(*) FROM applied").get))
    finally:
        connection.close()


# What was seen already


def test_a_high_number_on_one_stream_hides_nothing_on_another(
    view: DocumentsView, path: Path
) -> None:
    """NODES keeps the last messages only, so a replay meets its high numbers first."""
    tape = Tape()
    first = [tape.index(a_file(n)) for n in range(3)]
    for _ in range(5000):
        tape.next_id()
    heartbeat = tape.say(nodes.NodeOnline(v=5000), "n1")
    view.apply([heartbeat])
    view.apply(first)
    assert len(files_in(path)) == 3


def test_a_retry_is_seen_through_whatever_lies_between(view: DocumentsView, path: Path) -> None:
    tape = Tape()
    access = results.AccessRecorded(accesses=[results.Access(file_id="x", at=moment(0))])
    first = tape.say(access, "n1")
    view.apply([first])
    for _ in range(20):
        view.apply([tape.say(access, "n1")])
    again = tape.store(first.subject, first.headers, first.body, first.stream)
    view.apply([again])
    view.close()
    with closing(DocumentsView(path)) as reopened:
        later = tape.store(first.subject, first.headers, first.body, first.stream)
        reopened.apply([later])
    with Reader(path) as reader:
        document = reader.document("access::x")
    assert document is not None
    assert document["count"] == 21


# What cannot be understood


def unwritable(tape: Tape) -> Message:
    """Well-formed, and more than a column holds; only SQLite finds out."""
    tape.say(catalog.NodeConfigured(id="n9", body=catalog.NodeBody()), id=f"c{len(tape.messages)}")
    return tape.say(nodes.NodeOnline(v=2**63 - 1), "n9", id=f"n{len(tape.messages)}")


def test_only_the_guilty_message_is_put_aside(
    view: DocumentsView, path: Path, our_log: LogRecords
) -> None:
    our_log.expect("dead letter: cannot store REAL value in INTEGER column documents.generation")
    tape = Tape()
    tape.index(a_file(1))
    guilty = unwritable(tape)
    tape.index(a_file(2))
    applied = view.apply(tape.messages)
    assert applied.dead == 1
    assert applied.docs == [f"file::{file_id(1)}", "node::n9", f"file::{file_id(2)}"]
    assert len(files_in(path)) == 2
    with Reader(path) as reader:
        (letter,) = reader.dead_letters()
        assert reader.checkpoints() == {**tape.last}
    assert (letter.stream, letter.sequence) == (guilty.stream, guilty.sequence)
    assert letter.reason.startswith("ConstraintError: ")
    assert view.apply(tape.messages) == applied._replace(docs=[], dead=0)


def test_a_message_of_nothing_but_noise_is_put_aside(
    view: DocumentsView, path: Path, our_log: LogRecords
) -> None:
    """Even what no text column takes: a dead letter must always find its place."""
    our_log.allow("dead letter")
    tape = Tape()
    deep = {**(tape.index(a_file(1)).headers or {}), MESSAGE_ID: tape.next_id()}
    noise: list[tuple[str, dict[str, str] | None, bytes]] = [
        ("mosaic.files.n1.indexed", None, b""),
        ("mosaic.files.n1.indexed", {}, b"\xff" * 10_000),
        ("mosaic.\udcff.\0", {"\udc80": "\udcff", "Mosaic-Type": "file.indexed\0"}, b"{}"),
        ("mosaic.files.n1.indexed", {"Mosaic-Type": "\udcff"}, b"{}"),
        ("", {"x": "y" * 100_000}, b"["),
        ("mosaic.files.n1.indexed", deep, b"[" * 100_000),
    ]
    sent = [tape.store(*each, "FILES") for each in noise]
    applied = view.apply(tape.messages)
    assert applied.dead == len(sent)
    with Reader(path) as reader:
        letters = {letter.sequence: letter for letter in reader.dead_letters()}
    assert letters.keys() == {message.sequence for message in sent}
    assert letters[sent[2].sequence].subject == "mosaic.\\udcff.\0"
    assert len(files_in(path)) == 1


def test_an_event_of_the_future_is_put_aside_and_a_rebuild_after_the_upgrade_has_it(
    path: Path, tmp_path: Path, our_log: LogRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    our_log.expect("dead letter: file.indexed has version 2.*upgrade MosaicFS")
    tape = Tape()
    message = tape.index(a_file(1))
    assert message.headers is not None
    message.headers[VERSION] = "2"
    with closing(a_view(path)) as view:
        assert view.apply([message]).dead == 1
    monkeypatch.setattr(FileIndexed, "version", 2)
    with closing(a_view(tmp_path / "upgraded.db")) as rebuilt:
        assert rebuilt.apply([message]).dead == 0
    assert files_in(tmp_path / "upgraded.db") == ["file 1.txt"]


def test_a_bug_of_ours_is_no_dead_letter(
    view: DocumentsView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "decode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        view.apply([Tape().index(a_file(1))])


# A disk that is full


def crawl(tape: Tape, count: int, per: int = 100) -> None:
    for start in range(0, count, per):
        tape.index(*(a_file(n, f"some name or other {n}") for n in range(start, start + per)))


def test_a_full_view_is_left_as_it_was_at_every_page(tmp_path: Path) -> None:
    """Renames, new files and other documents, with room for 0, 1, 2… pages until all fits."""
    tape = Tape()
    crawl(tape, 300)
    before = len(tape.messages)
    crawl(tape, 700)
    moved = [
        MovedFile(
            **{key: getattr(a_file(n, f"renamed {n}", v=2), key) for key in _FILE_FIELDS},
            was_parent="/home",
            was_name="x",
        )
        for n in range(0, 300, 7)
    ]
    tape.say(FileRenamed(files=moved), "n1")
    tape.say(notices.NoticeRaised(severity="info", title="t", message="m" * 9000), "s", "c")
    wanted = a_view(tmp_path / "whole.db")
    wanted.apply(tape.messages)
    wanted.close()
    full = 0
    told: set[bool] = set()
    for room in range(0, 200, 2):
        path = tmp_path / f"room-{room}.db"
        with closing(a_view(path)) as view:
            view.apply(tape.messages[:before])
            untouched, state = contents(path), (view.n, view.checkpoints())
            pages = int(str(view._connection.execute("PRAGMA page_count").get))
            view._connection.execute(f"PRAGMA max_page_count = {pages + room}")
            try:
                view.apply(tape.messages[before:])
            except DiskFull as wrong:
                full += 1
                told.add("free some space" in str(wrong))
                assert contents(path) == untouched
                assert (view.n, view.checkpoints()) == state
            else:
                assert room > 0
                break
            view._connection.execute("PRAGMA max_page_count = 1073741823")
            view.apply(tape.messages[before:])
        assert meaning(path) == meaning(tmp_path / "whole.db")
        index_is_whole(path)
        discard(path)
    else:
        pytest.fail("it never fitted")
    assert full >= 10
    assert told == {True}


_FILE_FIELDS = ("id", "inode", "parent", "name", "size", "mtime", "v")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tmpfs")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", disk], check=True)
    try:
        tape = Tape()
        crawl(tape, 4000)
        view = a_view(disk / "view.db")
        done = 0
        with pytest.raises(DiskFull):
            for message in tape.messages:
                view.apply([message])
                done += 1
        assert 0 < done < len(tape.messages)
        assert len(files_in(disk / "view.db")) == 100 * done
        subprocess.run(["mount", "-o", "remount,size=40m", "none", disk], check=True)
        view.apply(tape.messages[done:])
        view.close()
        assert len(files_in(disk / "view.db")) == 4000
        index_is_whole(disk / "view.db")
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tmpfs")
def test_no_room_for_an_empty_view_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20k", "none", disk], check=True)
    try:
        with pytest.raises((DiskFull, DatabaseFailed)):
            DocumentsView(disk / "view.db")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


# Files that are no view of ours


def test_what_is_no_view_is_not_taken_for_one(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(StaleView, match="not a document view"):
        DocumentsView(path)
    with pytest.raises(NoView, match="another version"):
        Reader(path)


def test_an_empty_file_is_no_view(path: Path) -> None:
    path.touch()
    with pytest.raises(StaleView):
        DocumentsView(path)
    with pytest.raises(NoView):
        Reader(path)


@pytest.mark.parametrize("drop", ["writers", "files", "checkpoints", "meta"])
def test_a_view_with_a_table_missing_is_no_view(path: Path, drop: str) -> None:
    a_view(path).close()
    connection = apsw.Connection(str(path))
    connection.execute(f"DROP TABLE {drop}")
    connection.close()
    with pytest.raises(StaleView, match="not a document view"):
        DocumentsView(path)


def test_a_view_of_another_version_is_stale_for_writer_and_reader(path: Path) -> None:
    a_view(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", (schema.VERSION + 1,))
    connection.close()
    with pytest.raises(StaleView, match=f"version {schema.VERSION + 1}"):
        DocumentsView(path)
    with pytest.raises(NoView):
        Reader(path)


def test_no_view_yet(path: Path) -> None:
    with pytest.raises(NoView, match="mosaicfs up"):
        Reader(path)
    with pytest.raises(StaleView):
        DocumentsView(path, make=False)
    assert not path.exists()


def test_a_view_that_went_away_is_not_copied_as_an_empty_one(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StaleView, match="replaced"):
        copy_view(path, tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def broken(path: Path, how: str) -> None:
    """Damage a view's file in one of the ways in which disks do it."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        match how:
            case "cut in half":
                file.truncate(size // 2)
            case "cut inside a page":
                file.truncate(size - 1000)
            case "header overwritten":
                file.write(os.urandom(100))
            case "first page is zeros":
                file.write(bytes(4096))
            case "a page of zeros":
                file.seek(4096 * 20)
                file.write(bytes(4096))
            case "a page of garbage":
                file.seek(4096 * 20)
                file.write(b"\x5a" * 4096)
            case "a flipped byte in a page":
                # Of a page's own head: the bytes of a name have no other that would contradict.
                file.seek(4096 * 20)
                first = file.read(1)[0]
                file.seek(4096 * 20)
                file.write(bytes((first ^ 0x40,)))
            case "two pages changed places":
                file.seek(4096 * 20)
                one, other = file.read(4096), file.read(4096)
                file.seek(4096 * 20)
                file.write(other + one)


WAYS = (
    *("cut in half", "cut inside a page", "header overwritten", "first page is zeros"),
    *("a page of zeros", "a page of garbage", "a flipped byte in a page"),
    "two pages changed places",
)


@pytest.mark.parametrize("how", WAYS)
def test_a_damaged_file_is_refused(path: Path, how: str) -> None:
    with closing(a_view(path)) as view:
        tape = Tape()
        crawl(tape, 3000)
        view.apply(tape.messages)
    broken(path, how)
    with pytest.raises((DatabaseCorrupt, StaleView)):
        DocumentsView(path)


# What the change feed is told


def test_many_documents_are_not_named(view: DocumentsView) -> None:
    tape = Tape()
    few = view.apply([tape.index(*(a_file(n) for n in range(NAMED_DOCS)))])
    assert few.docs is not None
    assert len(few.docs) == NAMED_DOCS
    many = view.apply([tape.index(*(a_file(n) for n in range(1000, 2001)))])
    assert many.docs is None


def test_long_names_are_not_told(view: DocumentsView) -> None:
    """A line of the feed has a limit, and whoever writes an annotation chooses the file's id."""
    long = [results.Annotation(file_id=f"{n}" + "x" * 100_000, data={}) for n in range(3)]
    applied = view.apply([Tape().say(results.AnnotationWritten(annotations=long), "n1", "p")])
    assert applied.n == 3
    assert applied.docs is None


# What grows


def test_heartbeats_do_not_make_the_view_grow(view: DocumentsView, path: Path) -> None:
    tape = Tape()
    view.apply([tape.index(a_file(n)) for n in range(50)])
    sizes = []
    for start in range(0, 6000, 2000):
        for v in range(start, start + 2000):
            tape.say(nodes.NodeOnline(v=v + 1), "n1")
        for at in range(len(tape.messages) - 2000, len(tape.messages), 20):
            view.apply(tape.messages[at : at + 20])
        sizes.append(applied_rows(path))
    assert max(sizes) < 200
    with Reader(path) as reader:
        assert len(reader.changes({}, limit=1000)) == 51


def test_the_sweep_spares_what_a_node_documents_other_author_needs(
    view: DocumentsView, path: Path
) -> None:
    """A client that followed another view had the heartbeat, and not what people configured."""
    tape = Tape()
    body = catalog.NodeBody(friendly_name="attic")
    view.apply([tape.say(catalog.NodeConfigured(id="n1", body=body), id="c")])
    for v in range(1, 100):
        view.apply([tape.say(nodes.NodeOnline(v=v), "n1")])
    with Reader(path) as reader:
        changes = reader.changes({"NODES": Position(99)}, bodies=True)
    assert [change.doc for change in changes] == ["node::n1"]
    assert changes[0].after == {"NODES": Position(99), "CATALOG": Position(0, 1)}
    assert changes[0].document is not None
    assert changes[0].document["friendly_name"] == "attic"


def test_a_file_costs_less_than_300_bytes(view: DocumentsView, path: Path) -> None:
    tape = Tape()
    for start in range(0, 30_000, 500):
        files = [
            a_file(n, f"holiday_photo_{n:06d}.jpg", parent=f"/home/max/pictures/d{n // 25}")
            for n in range(start, start + 500)
        ]
        tape.index(*files)
    for at in range(0, len(tape.messages), 20):
        view.apply(tape.messages[at : at + 20])
    view.close()
    assert path.stat().st_size / 30_000 < 300


# Bodies


def test_a_body_does_not_tell_in_which_order_two_streams_came(tmp_path: Path) -> None:
    tape = Tape()
    body = catalog.NodeBody(friendly_name="attic", public_key="U")
    configured = tape.say(catalog.NodeConfigured(id="n1", body=body), id="c")
    online = tape.say(nodes.NodeOnline(v=1), "n1")
    for name, order in (("a", [configured, online]), ("b", [online, configured])):
        with closing(a_view(tmp_path / name)) as view:
            view.apply(order)
    one, other = meaning(tmp_path / "a"), meaning(tmp_path / "b")
    assert one["documents"] == other["documents"]
    assert one["documents"][0][2] == 2


def test_everything_has_a_token_and_nothing_lies_behind_it(view: DocumentsView, path: Path) -> None:
    tape = Tape()
    view.apply([tape.index(a_file(1), a_file(2)), tape.say(nodes.NodeOnline(v=1), "n1")])
    with Reader(path) as reader:
        assert reader.changes(everything(path)) == []
        assert len(reader.changes({})) == 3
        assert reader.changes({}, limit=0) == []


# Searching


@pytest.mark.parametrize(
    "text", ["", "\0", "a\0b", "\udc80", "x" * 100_000, "*" * 9000, '"', "'", "-", "AND", "a AND b"]
)
def test_no_text_breaks_a_search(view: DocumentsView, path: Path, text: str) -> None:
    view.apply([Tape().index(a_file(1, "plain"))])
    with Reader(path) as reader:
        assert reader.search(text) == []


def test_no_path_breaks_a_look_up(view: DocumentsView, path: Path) -> None:
    view.apply([Tape().index(a_file(1, "plain", parent="/"))])
    with Reader(path) as reader:
        for odd in ("", "/", "plain", "/\0", "/\udc80", "/plain/"):
            assert reader.file_at(None, odd) is None
        assert reader.file("not an id") is None
        assert reader.file(file_id(10).upper()) is None
        assert reader.document(f"file::{file_id(1).replace('-', '')}") is None
        found = reader.file_at(None, "/plain")
        assert found is not None
        with pytest.raises(ValueError, match="no such file"):
            reader.files(after=found.id.__class__(file_id(2)))


def test_a_page_behind_a_file_of_another_folder_is_what_lies_behind_it(
    view: DocumentsView, path: Path
) -> None:
    tape = Tape()
    places = [("/a", "1"), ("/a/b", "2"), ("/a-c", "3"), ("/b", "4")]
    view.apply([tape.index(*(a_file(n, name, parent=p) for n, (p, name) in enumerate(places)))])
    with Reader(path) as reader:
        everything_ = reader.files()
        assert [row.name for row in everything_] == ["1", "3", "2", "4"]
        for i, row in enumerate(everything_):
            assert reader.files(after=row.id) == everything_[i + 1 :]
        assert [row.name for row in reader.files(below="/a")] == ["1", "2"]
        assert [row.name for row in reader.files(below="/a", after=everything_[1].id)] == ["2"]
        assert reader.files(below="/a", parent="/b") == []
