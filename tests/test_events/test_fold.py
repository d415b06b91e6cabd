"""Events into documents: each type, generations, late and repeated statements."""

from __future__ import annotations

import json
from itertools import permutations
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import decode, encode
from events.fold import DOCUMENT_TYPES, Change, fold
from events.ids import DocId
from events.moments import Moment, moment
from events.vocabulary import TYPES
from events.vocabulary import catalog as v
from events.vocabulary import nodes as n
from events.vocabulary import notices as o
from events.vocabulary import results as r
from tests.test_events import instances
from tests.test_events.test_codec import GOLDEN, Sample

if TYPE_CHECKING:
    from events.vocabulary import Event

FILE = "0195f3a0-1234-7abc-8def-0123456789ab"
OTHER = "0195f3a0-1234-7abd-9def-0123456789ab"


class View:
    """Documents and generations, as a view keeps them."""

    def __init__(self) -> None:
        self.documents: dict[DocId, dict[str, Any]] = {}
        self.generations: dict[DocId, int] = {}
        self.types: dict[DocId, str] = {}
        self._time = 0

    def take(self, event: Event, *where: str, at: int | None = None) -> list[Change]:
        """Fold one event; by default each a second after the one before."""
        self._time = self._time + 1 if at is None else at
        wire = encode(event, *where, time=second(self._time), actor="test", id="t-1")
        changes = fold(decode(*wire), self.documents.get)
        assert len({change.doc for change in changes}) == len(changes)
        for change in changes:
            self.generations[change.doc] = self.generations.get(change.doc, 0) + change.by
            self.types[change.doc] = change.type
            if change.body is None:
                del self.documents[change.doc]
            else:
                # A body has to survive the view's JSON unchanged.
                text = json.dumps(change.body)
                assert json.dumps(json.loads(text)) == text
                self.documents[change.doc] = change.body
        return changes

    def only(self) -> dict[str, Any]:
        (body,) = self.documents.values()
        return body


def second(number: int) -> Moment:
    return moment(1000 * number)


@pytest.fixture
def view() -> View:
    return View()


# Every type


@pytest.mark.parametrize("tag", sorted(TYPES))
@settings(max_examples=settings().max_examples // 10)
@given(data=st.data())
def test_any_event_is_folded_into_documents_that_json_can_hold(
    tag: str, data: st.DataObject
) -> None:
    view = View()
    for _ in range(3):
        event = data.draw(instances.events_of(TYPES[tag]))
        view.take(event, *data.draw(instances.where(event)))
    for doc, kind in view.types.items():
        assert doc.partition("::")[0] in PREFIXES[kind]


PREFIXES = {kind: {prefix} for kind, prefix in DOCUMENT_TYPES.values()} | {
    "node": {"node"},
    "agent_status": {"agent_status"},
    "utilization_snapshot": {"utilization"},
    "annotation": {"annotation"},
    "replica": {"replica"},
    "access": {"access"},
    "notification": {"notification"},
}


def test_golden_events_make_documents_of_every_type() -> None:
    view = View()
    for path in sorted(GOLDEN.iterdir()):
        sample = msgspec.json.decode(path.read_bytes(), type=Sample)
        envelope = decode(sample.subject, sample.headers, msgspec.json.encode(sample.body))
        for change in fold(envelope, view.documents.get):
            view.types[change.doc] = change.type
            if change.body is not None:
                view.documents[change.doc] = change.body
    # The files have a table of their own.
    assert set(view.types.values()) == set(PREFIXES)


@settings(max_examples=settings().max_examples // 4)
@given(st.data())
def test_the_same_log_gives_the_same_documents(data: st.DataObject) -> None:
    log = []
    for _ in range(data.draw(st.integers(1, 8))):
        event = data.draw(instances.events)
        log.append((event, data.draw(instances.where(event))))
    one, other = View(), View()
    for event, where in log:
        one.take(event, *where)
        other.take(event, *where)
    assert one.documents == other.documents
    assert one.generations == other.generations


def test_what_is_kept_by_the_log_alone_makes_no_document(view: View) -> None:
    assert view.take(o.AuditRecorded(action="login", outcome="ok"), "people") == []
    assert not view.documents


# Configuration


def test_a_catalog_document_says_when_it_was_made_and_changed(view: View) -> None:
    body = v.SettingBody(key="k", value=1)
    view.take(v.SettingChanged(id="k", body=body))
    view.take(v.SettingChanged(id="k", body=v.SettingBody(key="k", value=None)))
    assert view.documents == {
        "setting::k": {
            "key": "k",
            "value": None,
            "created_at": second(1),
            "updated_at": second(2),
        }
    }
    assert view.generations == {"setting::k": 2}


def test_a_removed_document_counts_on_and_is_made_anew(view: View) -> None:
    body = v.LabelsBody(file_id=FILE, labels=["x"])
    view.take(v.LabelsAssigned(id=FILE, body=body))
    assert view.take(v.LabelsCleared(id=FILE)) == [
        Change(DocId(f"label_assignment::{FILE}"), "label_assignment", None)
    ]
    assert view.take(v.LabelsCleared(id=FILE)) == []
    view.take(v.LabelsAssigned(id=FILE, body=body))
    assert view.only()["created_at"] == second(4)
    assert list(view.generations.values()) == [3]


def test_documents_state_the_defaults_that_events_leave_out(view: View) -> None:
    event = v.DirectoryCreated(id="root", body=v.DirectoryBody(virtual_path="/"))
    assert b"enforce" not in encode(event, time=second(1), actor="a", id="1").body
    view.take(event)
    assert view.only()["enforce_steps_on_children"] is False
    assert view.only()["mounts"] == view.only()["steps"] == []


def test_no_two_documents_share_a_default(view: View) -> None:
    for id in ("a", "b"):
        view.take(v.DirectoryCreated(id=id, body=v.DirectoryBody(virtual_path=f"/{id}")))
    view.documents[DocId("dir::a")]["mounts"].append("x")
    assert view.documents[DocId("dir::b")]["mounts"] == []
    view.take(v.DirectoryCreated(id="c", body=v.DirectoryBody(virtual_path="/c")))
    assert view.documents[DocId("dir::c")]["mounts"] == []


# A node and what people say about it

REGISTERED = n.NodeRegistered(
    v=1,
    friendly_name="study",
    hostname="study.local",
    platform="linux",
    agent_version="1",
    watch_paths=["/home"],
    storage=[],
)
CONFIGURED = v.NodeConfigured(id="n", body=v.NodeBody(friendly_name="Study", public_key="U"))


def test_a_node_has_two_authors_who_do_not_overwrite_each_other(view: View) -> None:
    view.take(CONFIGURED)
    view.take(REGISTERED, "n")
    view.take(n.NodeOnline(v=2), "n")
    body = view.only()
    assert body["friendly_name"] == "Study"
    assert body["default_name"] == "study"
    assert body["public_key"] == "U"
    assert body["status"] == "online"
    assert body["last_heartbeat"] == second(3)
    view.take(v.NodeConfigured(id="n", body=v.NodeBody(disabled=True)))
    body = view.only()
    assert "public_key" not in body
    assert "friendly_name" not in body
    assert (body["disabled"], body["status"], body["hostname"]) == (True, "online", "study.local")
    assert view.generations == {"node::n": 4}


def test_the_two_authors_may_come_in_any_order() -> None:
    """They are in two streams, which a view reads side by side."""
    statements: list[tuple[Event, tuple[str, ...], int]] = [
        (CONFIGURED, (), 1),
        (REGISTERED, ("n",), 2),
        (n.NodeOffline(v=2), ("n",), 3),
    ]
    found = []
    for order in permutations(statements):
        if order.index(statements[1]) < order.index(statements[2]):
            view = View()
            for event, where, at in order:
                view.take(event, *where, at=at)
            found.append((view.documents, view.generations))
    assert len(found) == 3
    assert all(each == found[0] for each in found)


def test_a_removed_node_stays_as_a_document(view: View) -> None:
    assert view.take(v.NodeRemoved(id="n")) == []
    view.take(REGISTERED, "n")
    view.take(v.NodeRemoved(id="n"))
    assert (view.only()["disabled"], view.only()["removed_at"]) == (True, second(3))
    view.take(CONFIGURED)
    assert view.only()["disabled"] is False
    assert "removed_at" not in view.only()


def test_a_late_or_repeated_statement_changes_nothing(view: View) -> None:
    view.take(n.NodeOffline(v=5), "n")
    before = view.only()
    for late in (1, 4, 5):
        assert view.take(n.NodeOnline(v=late), "n") == []
    assert view.only() == before
    assert view.generations == {"node::n": 5}


@given(st.data())
def test_a_view_that_saw_only_the_last_of_each_subject_is_equal(data: st.DataObject) -> None:
    """NODES keeps no more; a view made from it must equal one that saw every heartbeat."""
    kinds = data.draw(st.lists(st.sampled_from(["registered", "online", "offline"]), min_size=1))
    log: list[tuple[str, Event, int]] = []
    for number, kind in enumerate(kinds, 1):
        event: Event
        if kind == "registered":
            event = msgspec.structs.replace(REGISTERED, v=number, agent_version=str(number))
        else:
            event = n.NodeOnline(v=number) if kind == "online" else n.NodeOffline(v=number)
        log.append((kind, event, number))
    last = {kind: (kind, event, number) for kind, event, number in log}
    live, fresh = View(), View()
    for _, event, at in log:
        live.take(event, "n", at=at)
    for _, event, at in sorted(last.values(), key=lambda each: each[2]):
        fresh.take(event, "n", at=at)
    assert fresh.documents == live.documents
    assert fresh.generations == live.generations


def test_the_state_of_an_agent_has_a_count_of_its_own(view: View) -> None:
    view.take(n.NodeOnline(v=7), "n")
    view.take(n.NodeStatus(v=3, subsystems=[], files=1, outbox=0), "n")
    view.take(n.NodeStatus(v=2, subsystems=[], files=9, outbox=9), "n")
    assert view.generations == {"node::n": 7, "agent_status::n": 3}
    assert view.documents[DocId("agent_status::n")]["files"] == 1


def test_each_measurement_is_a_document(view: View) -> None:
    for at in (1, 2, 2):
        view.take(n.UtilizationMeasured(taken_at=second(at), filesystems=[]), "n")
    assert set(view.documents) == {f"utilization::n::{second(at)}" for at in (1, 2)}


# Results


def test_annotations_are_replaced_and_removed(view: View) -> None:
    first = r.Annotation(file_id=FILE, data={"a": 1})
    view.take(r.AnnotationWritten(annotations=[first]), "n", "ocr")
    changes = view.take(
        r.AnnotationWritten(
            annotations=[
                r.Annotation(file_id=FILE, data={"b": 1}),
                r.Annotation(file_id=OTHER, data={}),
                r.Annotation(file_id=FILE, data={"c": 1}, file_v=3),
            ]
        ),
        "n",
        "ocr",
    )
    assert len(changes) == 2
    document = view.documents[DocId(f"annotation::{FILE}::ocr")]
    assert (document["data"], document["file_v"]) == ({"c": 1}, 3)
    assert view.generations[DocId(f"annotation::{FILE}::ocr")] == 2
    gone = r.AnnotationRemoved(file_ids=[FILE, FILE, "never"])
    assert [change.doc for change in view.take(gone, "n", "ocr")] == [f"annotation::{FILE}::ocr"]
    assert view.take(gone, "n", "other") == []
    assert set(view.documents) == {f"annotation::{OTHER}::ocr"}


def test_replicas_know_their_target_and_state(view: View) -> None:
    replica = r.Replica(file_id=FILE, remote_key="k", size=1, mtime=2)
    for status in ("current", "stale"):
        view.take(r.ReplicaWritten(status=status, replicas=[replica, replica]), "n", "nas")
    assert view.only() == {
        "file_id": FILE,
        "remote_key": "k",
        "size": 1,
        "mtime": 2,
        "checksum": None,
        "target_name": "nas",
        "node_id": "n",
        "status": "stale",
        "replicated_at": second(2),
    }
    view.take(r.ReplicaRemoved(file_ids=[FILE]), "n", "nas")
    assert view.documents == {}


def test_accesses_add_up_and_the_last_one_counts(view: View) -> None:
    view.take(
        r.AccessRecorded(
            accesses=[
                r.Access(file_id=FILE, at=second(50), count=2),
                r.Access(file_id=FILE, at=second(40), count=3, by="api"),
            ]
        ),
        "n",
    )
    # A laptop that was away tells later what was earlier.
    view.take(r.AccessRecorded(accesses=[r.Access(file_id=FILE, at=second(10))]), "m")
    assert view.only()["last_access"] == second(50)
    assert view.only()["count"] == 6
    assert list(view.generations.values()) == [2]


# Notices

RAISED = o.NoticeRaised(severity="warning", title="Full", message="Disk full.")


def test_the_life_of_a_notice(view: View) -> None:
    where = ("n", "disk_full")
    view.take(RAISED, *where)
    body = view.only()
    assert body["status"] == "active"
    assert body["first_seen"] == body["last_seen"] == second(1)
    assert body["occurrence_count"] == 1
    # It goes on.
    view.take(RAISED, *where)
    assert view.only()["first_seen"] == second(1)
    assert view.only()["last_seen"] == second(2)
    assert view.only()["occurrence_count"] == 2
    # Somebody has seen it, and it does not nag when it goes on.
    view.take(o.NoticeAcknowledged(by="ada"), *where)
    view.take(RAISED, *where)
    body = view.only()
    assert (body["status"], body["acknowledged_by"]) == ("acknowledged", "ada")
    assert body["acknowledged_at"] == second(3)
    # It ends.
    view.take(o.NoticeResolved(), *where)
    assert (view.only()["status"], view.only()["resolved_at"]) == ("resolved", second(5))
    assert view.take(o.NoticeResolved(), *where) == []
    assert view.take(o.NoticeAcknowledged(by="ada"), *where) == []
    # And comes again: that is news, and nobody has seen it.
    view.take(RAISED, *where)
    body = view.only()
    assert (body["status"], body["first_seen"]) == ("active", second(8))
    assert "acknowledged_by" not in body
    assert "resolved_at" not in body
    assert body["occurrence_count"] == 4
    assert list(view.generations.values()) == [6]


def test_a_notice_that_was_never_raised_cannot_end(view: View) -> None:
    assert view.take(o.NoticeResolved(), "n", "c") == []
    assert view.take(o.NoticeAcknowledged(by="ada"), "n", "c") == []


def test_conditions_and_sources_are_told_apart(view: View) -> None:
    for where in (("n", "a"), ("n", "b"), ("m", "a")):
        view.take(RAISED, *where)
    view.take(o.NoticeResolved(), "n", "a")
    assert [body["status"] for body in view.documents.values()] == ["resolved", "active", "active"]
