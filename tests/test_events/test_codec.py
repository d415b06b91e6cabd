"""Events to messages and back; and that nothing but `Poison` comes from what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events import codec, upcasters
from events.codec import decode, encode
from events.errors import Poison
from events.moments import moment
from events.vocabulary import TYPES, tag_of
from events.vocabulary.catalog import SettingBody, SettingChanged
from events.vocabulary.files import File, FileIndexed
from events.vocabulary.nodes import NodeOnline
from tests.test_events import instances

if TYPE_CHECKING:
    from events.vocabulary import Event

GOLDEN = Path(__file__).parent / "golden"
NOW = moment(1_700_000_000_123)
VERSIONS = [(tag, version) for tag, kind in TYPES.items() for version in range(1, kind.version + 1)]


class Sample(msgspec.Struct, forbid_unknown_fields=True):
    """A message as it was once written."""

    subject: str
    headers: dict[str, str]
    body: dict[str, Any]


def golden(tag: str, version: int) -> Sample:
    return msgspec.json.decode((GOLDEN / f"{tag}.v{version}.json").read_bytes(), type=Sample)


def headers(tag: str, version: str = "1", **other: str) -> dict[str, str]:
    return {
        codec.TYPE: tag,
        codec.VERSION: version,
        codec.TIME: NOW,
        codec.MESSAGE_ID: "w-1",
        codec.ACTOR: "test",
        **other,
    }


# Round trips


@pytest.mark.parametrize("tag", sorted(TYPES))
@settings(max_examples=settings().max_examples // 4)
@given(data=st.data())
def test_every_event_comes_back(tag: str, data: st.DataObject) -> None:
    event = data.draw(instances.events_of(TYPES[tag]))
    where = data.draw(instances.where(event))
    time = data.draw(instances.moment)
    wire = encode(event, *where, time=time, actor="user:ada", id="w-1", trace="t")
    read = decode(*wire)
    assert read.event == event
    assert (read.time, read.id, read.actor, read.trace) == (time, "w-1", "user:ada", "t")
    assert read.address.tokens[: len(where)] == where or read.address.area == "catalog"


@given(instances.events, st.data())
def test_a_body_stands_alone(event: Event, data: st.DataObject) -> None:
    wire = encode(event, *data.draw(instances.where(event)), time=NOW, actor="a", id="w-1")
    assert json.loads(wire.body)["type"] == tag_of(event)
    assert codec.TRACE not in wire.headers


# Golden samples


def test_every_version_of_every_type_has_a_sample_and_no_other() -> None:
    found = {path.name for path in GOLDEN.iterdir()}
    assert found == {f"{tag}.v{version}.json" for tag, version in VERSIONS}


@pytest.mark.parametrize(("tag", "version"), VERSIONS)
def test_samples_of_all_versions_are_read(tag: str, version: int) -> None:
    sample = golden(tag, version)
    assert sample.headers[codec.VERSION] == str(version)
    read = decode(sample.subject, sample.headers, msgspec.json.encode(sample.body))
    assert tag_of(read.event) == tag
    assert (read.id, read.actor, read.time) == ("a1b2c3d4e5f6-42", "user:ada", NOW)


@pytest.mark.parametrize("tag", sorted(TYPES))
def test_the_newest_sample_is_what_is_written_today(tag: str) -> None:
    sample = golden(tag, TYPES[tag].version)
    read = decode(sample.subject, sample.headers, msgspec.json.encode(sample.body))
    given_where = read.address.tokens[: _tokens(read.event)]
    wire = encode(
        read.event, *given_where, time=read.time, actor=read.actor, id=read.id, trace=read.trace
    )
    assert wire.subject == sample.subject
    assert wire.headers == sample.headers
    # A field that is missing from the sample could be renamed and nobody would notice.
    assert json.loads(wire.body) == sample.body
    assert set(sample.body) == {"type", *type(read.event).__struct_fields__}


def _tokens(event: Event) -> int:
    return {"catalog": 0, "files": 1, "nodes": 1}.get(event.area, 2)


# Upcasters


def test_every_upcaster_leads_to_the_next_version() -> None:
    for tag, version in upcasters.UPCASTERS:
        assert 1 <= version < TYPES[tag].version
    for tag, kind in TYPES.items():
        assert all((tag, version) in upcasters.UPCASTERS for version in range(1, kind.version))


@pytest.fixture
def third_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """`setting.changed` is at version 3: `name` became `key`, and the value got a wrapping."""
    monkeypatch.setattr(SettingChanged, "version", 3)


def _rename(body: dict[str, Any]) -> dict[str, Any]:
    inner = dict(body["body"])
    inner["key"] = inner.pop("name")
    return {**body, "body": inner}


def _wrap(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "body": {**body["body"], "value": {"is": body["body"]["value"]}}}


LIFTS: dict[tuple[str, int], upcasters.Upcaster] = {
    ("setting.changed", 1): _rename,
    ("setting.changed", 2): _wrap,
}


@pytest.mark.usefixtures("third_version")
@pytest.mark.parametrize(
    ("version", "inner"),
    [
        (1, {"name": "k", "value": 1}),
        (2, {"key": "k", "value": 1}),
        (3, {"key": "k", "value": {"is": 1}}),
    ],
)
def test_old_bodies_are_lifted_step_by_step(version: int, inner: dict[str, Any]) -> None:
    body = msgspec.json.encode({"type": "setting.changed", "id": "k", "body": inner})
    read = decode("mosaic.catalog.setting.k", headers("setting.changed", str(version)), body, LIFTS)
    assert read.event == SettingChanged(id="k", body=SettingBody(key="k", value={"is": 1}))


@pytest.mark.usefixtures("third_version")
@pytest.mark.parametrize(
    ("inner", "lifts"),
    [
        ({"key": "k", "value": 1}, LIFTS),  # not what the first lift expects: KeyError
        ([1, 2], LIFTS),  # TypeError
        (None, LIFTS),
        ({"name": 5, "value": 1}, LIFTS),  # lifted, and then of the wrong type
        ({"name": "k", "value": 1}, {}),
        ({"name": "k", "value": 1}, {("setting.changed", 1): _rename}),
    ],
)
def test_what_cannot_be_lifted_is_poison(
    inner: object, lifts: dict[tuple[str, int], upcasters.Upcaster]
) -> None:
    body = msgspec.json.encode({"type": "setting.changed", "id": "k", "body": inner})
    with pytest.raises(Poison):
        decode("mosaic.catalog.setting.k", headers("setting.changed", "1"), body, lifts)


# Garbage

BODIES = [
    b"",
    b"nonsense",
    b"null",
    b"[]",
    b"{}",
    b'{"type":"node.online"}',
    b'{"type":"node.online","v":"1"}',
    b'{"type":"node.online","v":1.5}',
    b'{"type":"node.online","v":0}',
    b'{"type":"node.online","v":-1}',
    b'{"type":"node.online","v":9223372036854775808}',
    b'{"type":"node.online","v":1e999}',
    b'{"type":"node.online","v":' + b"9" * 5000 + b"}",
    b'{"type":"node.offline","v":1}',
    b'{"v":1,"type":"\xff"}',
    b'{"type":"node.online","v":1',
    b'{"type":"node.online","v":1}{"type":"node.online","v":1}',
    b'\xef\xbb\xbf{"type":"node.online","v":1}',
    b'{"type":"node.online","v":1,"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:50]))
def test_a_body_that_is_no_event_is_poison(body: bytes) -> None:
    with pytest.raises(Poison):
        decode("mosaic.nodes.n.online", headers("node.online"), body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", -1),
        ("size", 2**63),
        ("inode", 2**63),
        ("mtime", 2**63),
        ("mtime", -(2**63) - 1),
        ("v", 0),
        ("name", None),
        ("id", 7),
    ],
)
def test_a_file_record_that_no_view_can_hold_is_poison(field: str, value: object) -> None:
    sample = golden("file.indexed", 1)
    sample.body["files"][0][field] = value
    with pytest.raises(Poison):
        decode(sample.subject, sample.headers, msgspec.json.encode(sample.body))


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc80", "\\udc00\\ud800"])
def test_a_lone_surrogate_is_poison(escape: str) -> None:
    file = File(id="f", inode=1, parent="/", name="NAME", size=1, mtime=1, v=1)
    wire = encode(FileIndexed(files=[file]), "n", time=NOW, actor="a", id="w-1")
    with pytest.raises(Poison):
        decode(wire.subject, wire.headers, wire.body.replace(b"NAME", escape.encode()))


@pytest.mark.parametrize(
    ("subject", "changed"),
    [
        ("mosaic.nodes.n.online", {codec.TYPE: ""}),
        ("mosaic.nodes.n.online", {codec.TYPE: "node.nonsense"}),
        ("mosaic.nodes.n.online", {codec.TYPE: "Event"}),
        ("mosaic.nodes.n.online", {codec.TYPE: "CatalogEvent"}),
        ("mosaic.nodes.n.online", {codec.TYPE: "Node.Online"}),
        ("mosaic.nodes.n.online", {codec.TYPE: "node.offline"}),
        ("mosaic.nodes.n.online", {codec.VERSION: ""}),
        ("mosaic.nodes.n.online", {codec.VERSION: "0"}),
        ("mosaic.nodes.n.online", {codec.VERSION: "-1"}),
        ("mosaic.nodes.n.online", {codec.VERSION: "1.0"}),
        ("mosaic.nodes.n.online", {codec.VERSION: " 1"}),
        ("mosaic.nodes.n.online", {codec.VERSION: "01"}),
        ("mosaic.nodes.n.online", {codec.VERSION: "\u0661"}),
        ("mosaic.nodes.n.online", {codec.VERSION: "1, 1"}),
        ("mosaic.nodes.n.online", {codec.VERSION: "9" * 5000}),
        ("mosaic.nodes.n.online", {codec.TIME: ""}),
        ("mosaic.nodes.n.online", {codec.TIME: "yesterday"}),
        ("mosaic.nodes.n.online", {codec.TIME: "2024-01-01T00:00:00Z"}),
        ("mosaic.nodes.n.online", {codec.MESSAGE_ID: ""}),
        ("mosaic.nodes.n.offline", {}),
        ("mosaic.nodes.n", {}),
        ("mosaic.nodes.=6E.online", {}),
        ("mosaic.files.n.online", {}),
        ("mosaic.access.n", {}),
        ("mosaic.nonsense.n", {}),
        ("elsewhere", {}),
    ],
)
def test_wrong_headers_or_subjects_are_poison(subject: str, changed: dict[str, str]) -> None:
    body = msgspec.json.encode(NodeOnline(v=1))
    assert decode("mosaic.nodes.n.online", headers("node.online"), body).event == NodeOnline(v=1)
    with pytest.raises(Poison):
        decode(subject, {**headers("node.online"), **changed}, body)


@pytest.mark.parametrize("none", [None, {}])
def test_no_headers_are_poison(none: dict[str, str] | None) -> None:
    with pytest.raises(Poison, match="no headers"):
        decode("mosaic.nodes.n.online", none, msgspec.json.encode(NodeOnline(v=1)))


def test_a_version_from_the_future_says_what_to_do() -> None:
    with pytest.raises(Poison, match=r"upgrade MosaicFS.*views rebuild"):
        decode("mosaic.nodes.n.online", headers("node.online", "2"), b"{}")


def test_an_event_cannot_speak_for_another_document() -> None:
    event = SettingChanged(id="b", body=SettingBody(key="b", value=1))
    wire = encode(event, time=NOW, actor="a", id="w-1")
    assert wire.subject == "mosaic.catalog.setting.b"
    for subject in ("mosaic.catalog.setting.a", "mosaic.catalog.user.b"):
        with pytest.raises(Poison, match="another document"):
            decode(subject, wire.headers, wire.body)


hostile_headers = st.none() | st.dictionaries(
    st.sampled_from([codec.TYPE, codec.VERSION, codec.TIME, codec.ACTOR, codec.MESSAGE_ID]),
    st.sampled_from([*TYPES, "1", NOW, "w-1"]) | st.text(),
)
hostile_subjects = (
    st.sampled_from(["mosaic.nodes.n.online", "mosaic.catalog.setting.k", "mosaic.access.n"])
    | st.text()
)
hostile_bodies = (
    st.binary()
    | instances.json_values.map(msgspec.json.encode)
    | st.builds(
        lambda tag, rest: msgspec.json.encode({**rest, "type": tag}),
        st.sampled_from(sorted(TYPES)),
        st.dictionaries(st.sampled_from(["v", "id", "body", "files"]), instances.json_values),
    )
)


@given(hostile_subjects, hostile_headers, hostile_bodies)
def test_anything_at_all_is_an_event_or_poison(
    subject: str, found: dict[str, str] | None, body: bytes
) -> None:
    try:
        read = decode(subject, found, body)
    except Poison:
        return
    assert found is not None
    assert tag_of(read.event) == found[codec.TYPE]


@given(st.data())
def test_a_damaged_message_is_an_event_or_poison(data: st.DataObject) -> None:
    """One change anywhere in a good message: the damage that a fuzzer from nothing never finds."""
    event = data.draw(instances.events)
    wire = encode(event, *data.draw(instances.where(event)), time=NOW, actor="a", id="w-1")
    at = data.draw(st.integers(0, len(wire.body) - 1))
    damage = data.draw(st.binary(max_size=3))
    try:
        decode(wire.subject, wire.headers, wire.body[:at] + damage + wire.body[at + 1 :])
    except Poison:
        return


def test_unknown_fields_of_a_body_are_passed_over() -> None:
    read = decode(
        "mosaic.nodes.n.online", headers("node.online"), b'{"type":"node.online","v":1,"x":2}'
    )
    assert read.event == NodeOnline(v=1)
