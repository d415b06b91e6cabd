"""Commands and the present state: what is decided, what is refused, and with which code."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from events import commands as c
from events.codec import decode, encode
from events.decide import MOST_EVENTS, Decided, Held, decide, directory_id
from events.errors import Conflict, Refused
from events.fold import DOCUMENT_TYPES, fold
from events.ids import DocId
from events.moments import moment
from events.vocabulary import TYPES, tag_of
from events.vocabulary import catalog as v
from events.vocabulary.rules import Glob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from events.vocabulary.catalog import Kind

NODE = "study-1a2b3c4d"
KEY = "MOSAICFS_0123456789abcdef"
FILE = "0195f3a0-1234-7abc-8def-0123456789ab"
SEALED = v.Sealed(key="k", nonce="n", box="b")


class Model:
    """The catalog as its events left it, and the documents that a view folds from the same log."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Held] = {}
        self._sequences = count(1)
        self.documents: dict[DocId, dict[str, Any]] = {}
        self.generations: dict[DocId, int] = {}

    # What decide may ask

    def held(self, kind: Kind, id: str) -> Held | None:
        return self._held.get((kind, id))

    def below(self, virtual_path: str) -> Iterator[v.DirectoryBody]:
        prefix = virtual_path.rstrip("/") + "/"
        for body in self.bodies("directory"):
            assert isinstance(body, v.DirectoryBody)
            if body.virtual_path.startswith(prefix) and body.virtual_path != virtual_path:
                yield body

    # What the log and a view do

    def bodies(self, kind: str) -> list[object]:
        return [
            held.body
            for (each, _), held in self._held.items()
            if each == kind and held.body is not None
        ]

    def give(self, command: c.Command) -> list[str]:
        """Decide, append and fold; returns the tags of what was decided."""
        decided = decide(command, self)
        for each in decided:
            self._append(each)
        return [tag_of(each.event) for each in decided]

    def _append(self, decided: Decided) -> None:
        event = decided.event
        at = (event.kind, event.id)
        before = self._held.get(at)
        # What the server checks.
        assert decided.expected_sequence == (before.sequence if before else 0)
        sequence = next(self._sequences)
        wire = encode(event, time=moment(sequence), actor="test", id=f"t-{sequence}")
        changes = fold(decode(*wire), self.documents.get)
        assert len(changes) == 1, "every decided event changes its document"
        (change,) = changes
        self.generations[change.doc] = self.generations.get(change.doc, 0) + change.by
        if change.body is None:
            del self.documents[change.doc]
        else:
            self.documents[change.doc] = change.body
        self._held[at] = Held(getattr(event, "body", None), self.generations[change.doc], sequence)


@pytest.fixture
def model() -> Model:
    return Model()


def directory(path: str, **more: object) -> v.DirectoryBody:
    return replace(v.DirectoryBody(virtual_path=path), **more)


def mount(id: str = "m", path: str = "/home") -> v.MountSource:
    return v.MountSource(id=id, node=NODE, path=path)


def label_rule(**more: object) -> v.LabelRuleBody:
    return replace(v.LabelRuleBody(name="r", node="*", path_prefix="/a/", labels=["x"]), **more)


def plugin(**more: object) -> v.PluginBody:
    return replace(v.PluginBody(node=NODE, plugin_name="ocr", plugin_type="socket"), **more)


def backend(**more: object) -> v.BackendBody:
    return replace(
        v.BackendBody(name="nas", backend="s3", mode="target", hosting_node=NODE), **more
    )


def replication(**more: object) -> v.ReplicationRuleBody:
    return replace(v.ReplicationRuleBody(name="r", target="nas"), **more)


def credential(**more: object) -> v.CredentialBody:
    return replace(
        v.CredentialBody(
            access_key_id=KEY, name="Laptop", secret_hash="$argon2id$", signing_key=SEALED
        ),
        **more,
    )


def user(**more: object) -> v.UserBody:
    return replace(v.UserBody(name="ada", password_hash="$argon2id$", roles=[]), **more)


# For each kind: what sets it first, what sets it to something else, what removes it; the events.
LIVES: list[tuple[c.Command, c.Command, c.Command, tuple[str, str, str]]] = [
    (
        c.CreateDirectory(body=directory("/a")),
        c.EditDirectory(body=directory("/a", enforce_steps_on_children=True)),
        c.RemoveDirectory(virtual_path="/a"),
        ("directory.created", "directory.edited", "directory.removed"),
    ),
    (
        c.AssignLabels(file_id=FILE, labels=["b", "a"]),
        c.AssignLabels(file_id=FILE, labels=["b"]),
        c.AssignLabels(file_id=FILE, labels=[]),
        ("labels.assigned", "labels.assigned", "labels.cleared"),
    ),
    (
        c.CreateLabelRule(id="r", body=label_rule()),
        c.EditLabelRule(id="r", body=label_rule(enabled=False)),
        c.RemoveLabelRule(id="r"),
        ("label_rule.created", "label_rule.edited", "label_rule.removed"),
    ),
    (
        c.ConfigurePlugin(body=plugin()),
        c.ConfigurePlugin(body=plugin(workers=3)),
        c.RemovePlugin(node=NODE, plugin_name="ocr"),
        ("plugin.configured", "plugin.configured", "plugin.removed"),
    ),
    (
        c.ConfigureBackend(body=backend()),
        c.ConfigureBackend(body=backend(enabled=False)),
        c.RemoveBackend(name="nas"),
        ("backend.configured", "backend.configured", "backend.removed"),
    ),
    (
        c.CreateReplicationRule(id="r", body=replication()),
        c.EditReplicationRule(id="r", body=replication(retention_days=0)),
        c.RemoveReplicationRule(id="r"),
        ("replication_rule.created", "replication_rule.edited", "replication_rule.removed"),
    ),
    (
        c.IssueCredential(body=credential()),
        c.EditCredential(body=credential(enabled=False)),
        c.RevokeCredential(access_key_id=KEY),
        ("credential.issued", "credential.edited", "credential.revoked"),
    ),
    (
        c.CreateUser(body=user()),
        c.EditUser(body=user(token_epoch=1)),
        c.RemoveUser(name="ada"),
        ("user.created", "user.edited", "user.removed"),
    ),
    (
        c.ChangeSetting(key="k", value=1),
        c.ChangeSetting(key="k", value=2),
        c.ResetSetting(key="k"),
        ("setting.changed", "setting.changed", "setting.reset"),
    ),
    (
        c.ConfigureNode(node=NODE, body=v.NodeBody(friendly_name="Study")),
        c.ConfigureNode(node=NODE, body=v.NodeBody(friendly_name="Attic")),
        c.RemoveNode(node=NODE),
        ("node.configured", "node.configured", "node.removed"),
    ),
]
CASES = [pytest.param(*life, id=type(life[0]).__name__) for life in LIVES]
TWO_COMMANDS = [
    case for case, life in zip(CASES, LIVES, strict=True) if type(life[0]) is not type(life[1])
]

Life = tuple[str, str, str]


@pytest.fixture
def ready(model: Model) -> Model:
    """A catalog with what the commands of `LIVES` presuppose."""
    if not model.held("backend", "nas"):
        model.give(c.ConfigureBackend(body=backend(mode="bidirectional")))
    return model


def test_every_command_is_decided_and_has_a_case() -> None:
    tried = {type(command) for life in LIVES for command in life[:3]}
    assert tried == set(get_args(c.AnyCommand))
    assert set(get_args(c.AnyCommand)) <= set(decide.registry)
    decided = {tag for life in LIVES for tag in life[3]}
    assert decided == {tag for tag, kind in TYPES.items() if kind.area == "catalog"}


@pytest.mark.parametrize(("first", "other", "remove", "tags"), CASES)
def test_the_life_of_a_document(
    ready: Model, first: c.Command, other: c.Command, remove: c.Command, tags: Life
) -> None:
    assert ready.give(first) == [tags[0]]
    assert ready.give(other) == [tags[1]]
    assert ready.give(remove) == [tags[2]]
    # And it can begin anew, on the same subject.
    assert ready.give(first) == [tags[0]]


@pytest.mark.parametrize(("first", "other", "remove", "tags"), CASES)
def test_saying_the_same_again_decides_nothing(
    ready: Model, first: c.Command, other: c.Command, remove: c.Command, tags: Life
) -> None:
    ready.give(first)
    ready.give(other)
    assert ready.give(other) == []


@pytest.mark.parametrize(("first", "other", "remove", "tags"), CASES)
def test_what_is_not_there_cannot_be_removed(
    ready: Model, first: c.Command, other: c.Command, remove: c.Command, tags: Life
) -> None:
    if isinstance(remove, c.RemoveBackend):
        ready.give(remove)
    if isinstance(remove, c.AssignLabels):
        assert ready.give(remove) == []
        return
    with pytest.raises(Refused) as refused:
        ready.give(remove)
    assert refused.value.code == "not_found"
    ready.give(first)
    ready.give(remove)
    with pytest.raises(Refused) as refused:
        ready.give(remove)
    assert refused.value.code == "not_found"


@pytest.mark.parametrize(("first", "other", "remove", "tags"), TWO_COMMANDS)
def test_create_and_edit_know_whether_it_is_there(
    ready: Model, first: c.Command, other: c.Command, remove: c.Command, tags: Life
) -> None:
    with pytest.raises(Refused) as refused:
        ready.give(other)
    assert refused.value.code == "not_found"
    ready.give(first)
    with pytest.raises(Refused) as refused:
        ready.give(first)
    assert refused.value.code == "exists"


@pytest.mark.parametrize(("first", "other", "remove", "tags"), CASES)
def test_another_generation_than_expected_is_a_conflict(
    ready: Model, first: c.Command, other: c.Command, remove: c.Command, tags: Life
) -> None:
    def expecting(command: c.Command, generation: int) -> c.Command:
        return replace(command, expects=generation)

    generation = 1 if isinstance(first, c.ConfigureBackend) else 0
    for wrong in (generation + 1, generation - 1, 99):
        with pytest.raises(Conflict, match=f"document is at {generation}"):
            ready.give(expecting(first, wrong))
    ready.give(expecting(first, generation))
    for command in (other, remove):
        generation += 1
        for wrong in (0, generation - 1, generation + 1):
            if wrong != generation:
                with pytest.raises(Conflict) as refused:
                    ready.give(expecting(command, wrong))
                assert refused.value.code == "conflict"
        assert ready.give(expecting(command, generation)) != []
    # A removed document goes on counting.
    assert ready.give(expecting(first, generation + 1)) != []


REFUSALS: list[tuple[c.Command, str]] = [
    (c.Command(), "unknown_command"),
    *(
        (c.CreateDirectory(body=directory(path)), "bad_path")
        for path in ("", "a", "a/b", "/a/", "//", "/a//b", "/a/../b", "/.", "/a/.", "/a\0b")
    ),
    (c.CreateDirectory(body=directory("/" + "x" * 256)), "bad_path"),
    (c.CreateDirectory(body=directory("/" + "ä" * 128)), "bad_path"),
    (c.EditDirectory(body=directory("/a/")), "bad_path"),
    (c.CreateDirectory(body=directory("/federation")), "reserved_path"),
    (c.CreateDirectory(body=directory("/federation/x")), "reserved_path"),
    (c.CreateDirectory(body=directory("/a/b")), "no_parent"),
    (c.CreateDirectory(body=directory("/a", mounts=[mount(), mount()])), "bad_mount"),
    (c.CreateDirectory(body=directory("/a", mounts=[mount(path="home")])), "bad_mount"),
    *(
        (c.AssignLabels(file_id=id, labels=["x"]), "bad_id")
        for id in ("", "x", FILE.upper(), FILE + "0", FILE.replace("-", ""), f"{FILE}\n")
    ),
    *(
        (c.AssignLabels(file_id=FILE, labels=labels), "bad_label")
        for labels in ([""], ["a,b"], [" a"], ["a "], ["a\n"], ["x" * 101], ["a", "a"], ["\x7f"])
    ),
    *(
        (c.CreateLabelRule(id=id, body=label_rule()), "bad_id")
        for id in ("", "a b", "a/b", "x" * 65, "-a", "a\n", "a::b")
    ),
    (c.CreateLabelRule(id="r", body=label_rule(labels=[])), "bad_label"),
    (c.CreateLabelRule(id="r", body=label_rule(labels=["a,b"])), "bad_label"),
    (c.CreateLabelRule(id="r", body=label_rule(path_prefix="/a")), "bad_prefix"),
    (c.CreateLabelRule(id="r", body=label_rule(path_prefix="a/")), "bad_prefix"),
    (c.CreateLabelRule(id="r", body=label_rule(node="A b")), "bad_node"),
    *(
        (c.ConfigurePlugin(body=plugin(plugin_name=name)), "bad_name")
        for name in ("", ".a", "a/b", "a..b", "x" * 65, "a b", "ä", "a\n", "a::b")
    ),
    (c.ConfigurePlugin(body=plugin(node="*")), "bad_node"),
    (c.ConfigurePlugin(body=plugin(workers=0)), "bad_plugin"),
    (c.ConfigurePlugin(body=plugin(workers=65)), "bad_plugin"),
    (c.ConfigurePlugin(body=plugin(timeout_s=0)), "bad_plugin"),
    (c.ConfigurePlugin(body=plugin(max_attempts=0)), "bad_plugin"),
    (c.ConfigureBackend(body=backend(name="../nas")), "bad_name"),
    (c.CreateReplicationRule(id="r", body=replication(target="none")), "no_target"),
    (c.CreateReplicationRule(id="r", body=replication(target="camera")), "no_target"),
    (c.CreateReplicationRule(id="r", body=replication(retention_days=-1)), "bad_rule"),
    (c.CreateReplicationRule(id="", body=replication()), "bad_id"),
    *(
        (c.IssueCredential(body=credential(access_key_id=id)), "bad_id")
        for id in ("", "MOSAICFS_", KEY.upper(), KEY + "0", f"{KEY}\n")
    ),
    (c.CreateUser(body=user(name="a b")), "bad_name"),
    (c.ChangeSetting(key="", value=1), "bad_name"),
    (c.ChangeSetting(key="a..b", value=1), "bad_name"),
    (c.ConfigureNode(node="", body=v.NodeBody()), "bad_node"),
    (
        c.ConfigureNode(
            node=NODE,
            body=v.NodeBody(
                network_mounts=[
                    v.NetworkMount(
                        mount_id="m",
                        remote_node=NODE,
                        remote_path="/a",
                        local_path=path,
                        mount_type="nfs",
                    )
                    for path in ("/a", "/b")
                ]
            ),
        ),
        "bad_mount",
    ),
]


@pytest.mark.parametrize(("command", "code"), REFUSALS)
def test_what_may_not_be_is_refused_with_a_code_and_a_sentence(
    ready: Model, command: c.Command, code: str
) -> None:
    ready.give(c.ConfigureBackend(body=backend(name="camera", mode="source")))
    with pytest.raises(Refused) as refused:
        ready.give(command)
    assert refused.value.code == code
    assert len(str(refused.value)) > 10


# Directories hang together


@pytest.fixture
def tree(model: Model) -> Model:
    for path in ("/", "/a", "/a/b", "/a/b/c", "/a/b-x", "/a/z", "/ab", "/ab/c"):
        model.give(c.CreateDirectory(body=directory(path, system=path == "/")))
    return model


def paths(model: Model) -> set[str]:
    return {body.virtual_path for body in model.bodies("directory")}  # type: ignore[attr-defined]  # directories


def test_a_directory_with_others_below_stays(tree: Model) -> None:
    with pytest.raises(Refused, match="has 4 directories below it") as refused:
        tree.give(c.RemoveDirectory(virtual_path="/a"))
    assert refused.value.code == "not_empty"


def test_a_cascade_goes_from_the_deepest_up_and_takes_nothing_else(tree: Model) -> None:
    decided = decide(c.RemoveDirectory(virtual_path="/a", cascade=True), tree)
    order = [each.event.id for each in decided]
    for parent, child in [("/a", "/a/b"), ("/a/b", "/a/b/c"), ("/a", "/a/z"), ("/a", "/a/b-x")]:
        assert order.index(directory_id(child)) < order.index(directory_id(parent))
    tree.give(c.RemoveDirectory(virtual_path="/a", cascade=True))
    assert paths(tree) == {"/", "/ab", "/ab/c"}


def test_what_belongs_to_the_system_stays(tree: Model) -> None:
    for path in ("/", "/sys"):
        if path != "/":
            tree.give(c.CreateDirectory(body=directory(path, system=True)))
        with pytest.raises(Refused) as refused:
            tree.give(c.RemoveDirectory(virtual_path=path, cascade=True))
        assert refused.value.code == "system_directory"


def test_a_cascade_does_not_take_a_system_directory_along(tree: Model) -> None:
    tree.give(c.CreateDirectory(body=directory("/a/sys", system=True)))
    before = paths(tree)
    with pytest.raises(Refused, match="/a/sys") as refused:
        tree.give(c.RemoveDirectory(virtual_path="/a", cascade=True))
    assert refused.value.code == "system_directory"
    assert paths(tree) == before


def test_a_cascade_fits_into_one_atomic_batch(model: Model) -> None:
    model.give(c.CreateDirectory(body=directory("/a")))
    for number in range(MOST_EVENTS - 1):
        model.give(c.CreateDirectory(body=directory(f"/a/{number}")))
    remove = c.RemoveDirectory(virtual_path="/a", cascade=True)
    assert len(decide(remove, model)) == MOST_EVENTS
    model.give(c.CreateDirectory(body=directory("/a/more")))
    with pytest.raises(Refused) as refused:
        decide(remove, model)
    assert refused.value.code == "too_many"


# Details


def test_labels_are_kept_in_one_order(model: Model) -> None:
    model.give(c.AssignLabels(file_id=FILE, labels=["b", "a"]))
    assert model.give(c.AssignLabels(file_id=FILE, labels=["a", "b"])) == []


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.5), ([1], [True])])
def test_values_that_only_python_takes_for_equal_are_a_change(
    model: Model, one: object, other: object
) -> None:
    model.give(c.ChangeSetting(key="k", value=one))
    assert model.give(c.ChangeSetting(key="k", value=other)) == ["setting.changed"]
    model.give(c.ConfigurePlugin(body=plugin(settings={"x": one})))
    assert model.give(c.ConfigurePlugin(body=plugin(settings={"x": other}))) != []


def test_the_order_of_keys_is_no_change(model: Model) -> None:
    model.give(c.ChangeSetting(key="k", value={"a": 1, "b": {"c": 2, "d": 3}}))
    assert model.give(c.ChangeSetting(key="k", value={"b": {"d": 3, "c": 2}, "a": 1})) == []


def test_commands_come_from_json_and_know_their_fields() -> None:
    decoder = msgspec.json.Decoder(c.AnyCommand)
    for life in LIVES:
        for command in life[:3]:
            assert decoder.decode(msgspec.json.encode(command)) == command
    with pytest.raises(msgspec.ValidationError, match="expcts"):
        decoder.decode(b'{"command":"setting.reset","key":"k","expcts":1}')
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(b'{"command":"setting.explode","key":"k"}')


# Any commands in any order

a_path = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/a/b-x", "/d", "/a//b", "/federation/x"])
an_id = st.sampled_from(["r", "s"])
any_command: st.SearchStrategy[c.Command] = st.one_of(
    st.builds(
        c.CreateDirectory,
        body=st.builds(
            directory,
            a_path,
            system=st.booleans(),
            steps=st.just([]) | st.just([Glob(pattern="*")]),
        ),
    ),
    st.builds(c.EditDirectory, body=st.builds(directory, a_path, system=st.booleans())),
    st.builds(c.RemoveDirectory, virtual_path=a_path, cascade=st.booleans()),
    st.builds(
        c.AssignLabels,
        file_id=st.just(FILE),
        labels=st.lists(st.sampled_from(["x", "y"]), max_size=2),
    ),
    st.builds(c.CreateLabelRule, id=an_id, body=st.builds(label_rule, enabled=st.booleans())),
    st.builds(c.EditLabelRule, id=an_id, body=st.builds(label_rule, enabled=st.booleans())),
    st.builds(c.RemoveLabelRule, id=an_id),
    st.builds(c.ConfigurePlugin, body=st.builds(plugin, workers=st.integers(0, 3))),
    st.builds(c.RemovePlugin, node=st.just(NODE), plugin_name=st.just("ocr")),
    st.builds(
        c.ConfigureBackend,
        body=st.builds(backend, mode=st.sampled_from(["source", "target", "bidirectional"])),
    ),
    st.builds(c.RemoveBackend, name=st.just("nas")),
    st.builds(c.CreateReplicationRule, id=an_id, body=st.builds(replication)),
    st.builds(
        c.EditReplicationRule,
        id=an_id,
        body=st.builds(replication, retention_days=st.integers(-1, 2)),
    ),
    st.builds(c.RemoveReplicationRule, id=an_id),
    st.builds(c.IssueCredential, body=st.builds(credential)),
    st.builds(c.EditCredential, body=st.builds(credential, enabled=st.booleans())),
    st.builds(c.RevokeCredential, access_key_id=st.just(KEY)),
    st.builds(c.CreateUser, body=st.builds(user)),
    st.builds(c.EditUser, body=st.builds(user, token_epoch=st.integers(0, 2))),
    st.builds(c.RemoveUser, name=st.just("ada")),
    st.builds(c.ChangeSetting, key=an_id, value=st.sampled_from([0, 1, False, True, None])),
    st.builds(c.ResetSetting, key=an_id),
    st.builds(
        c.ConfigureNode, node=st.just(NODE), body=st.builds(v.NodeBody, disabled=st.booleans())
    ),
    st.builds(c.RemoveNode, node=st.just(NODE)),
)
CODES = {code for _, code in REFUSALS} | {
    "not_found",
    "exists",
    "conflict",
    "not_empty",
    "system_directory",
}


class AnyCommands(RuleBasedStateMachine):
    """Decide, append and fold: the catalog, the documents and the tree always agree."""

    @initialize()
    def begin(self) -> None:
        self.model = Model()

    @rule(command=any_command, expects=st.none() | st.integers(0, 4))
    def give(self, command: c.Command, expects: int | None) -> None:
        before = dict(self.model.documents)
        try:
            changed = bool(self.model.give(replace(command, expects=expects)))
            code = None
        except Refused as refused:
            changed, code = False, refused.code
        assert code is None or code in CODES
        assert changed == (self.model.documents != before)

    @invariant()
    def documents_are_what_is_held(self) -> None:
        held = {
            f"{prefix}::{id}": msgspec.to_builtins(each.body)
            for (kind, id), each in self.model._held.items()
            if each.body is not None and (prefix := _prefix(kind))
        }
        found = {
            doc: body for doc, body in self.model.documents.items() if not doc.startswith("node::")
        }
        assert held.keys() == found.keys()
        for doc, body in held.items():
            assert body.items() <= found[DocId(doc)].items()

    @invariant()
    def no_directory_is_without_its_parent(self) -> None:
        there = paths(self.model)
        assert all((path.rpartition("/")[0] or "/") in there | {"/"} for path in there)


def _prefix(kind: str) -> str | None:
    return {str(key): prefix for key, (_, prefix) in DOCUMENT_TYPES.items()}.get(kind)


TestAnyCommands = AnyCommands.TestCase
