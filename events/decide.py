"""A command and the present state give events, or a refusal. Pure: no I/O, no clock.

The caller appends what is decided with the sequences that the decision was based on, so that a
state which changed meanwhile turns into `Conflict` at the server and never into a lost edit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import singledispatch
from typing import Final, NamedTuple, Protocol

import msgspec

from events import commands as c
from events import ids
from events.errors import Conflict, Refused
from events.vocabulary import catalog as v
from events.vocabulary.base import Record
from events.vocabulary.catalog import CatalogEvent, Kind

RESERVED_PREFIXES: Final = ("/federation/",)
ROOT: Final = "/"
# What the log stores all or nothing; see `events.append.BATCH_LIMIT`.
MOST_EVENTS: Final = 1000

_LABEL: Final = re.compile(r"[^\x00-\x1f\x7f,]{1,100}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RULE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ACCESS_KEY: Final = re.compile(r"MOSAICFS_[0-9a-f]{16}")


class Held(NamedTuple):
    """A document as the state has it: its body, its generation, and its subject's last sequence.

    A removed document is held with `body` None, so that its next event continues the subject.
    """

    body: Record | None
    generation: int
    sequence: int


class Catalog(Protocol):
    """The present state of what people configured."""

    def held(self, kind: Kind, id: str) -> Held | None: ...

    def below(self, virtual_path: str) -> Iterable[v.DirectoryBody]:
        """Every directory under the path, not the path's own."""


class Decided(NamedTuple):
    """An event, and the subject sequence that it must follow (0: the subject is new)."""

    event: CatalogEvent
    expected_sequence: int


@singledispatch
def decide(command: c.Command, state: Catalog) -> list[Decided]:
    """What follows from a command; raises `Refused` or `Conflict`."""
    raise Refused("unknown_command", f"no such command: {type(command).__name__}")


def _create(
    command: c.Command, state: Catalog, event: CatalogEvent, what: str, id: str
) -> list[Decided]:
    held = state.held(event.kind, id)
    if held is not None and held.body is not None:
        raise Refused("exists", f"{what} exists already")
    _expected(command, held)
    return [Decided(event, held.sequence if held else 0)]


def _existing(command: c.Command, state: Catalog, kind: Kind, id: str, what: str) -> Held:
    held = state.held(kind, id)
    if held is None or held.body is None:
        raise Refused("not_found", f"there is no {what}")
    _expected(command, held)
    return held


def _set(command: c.Command, state: Catalog, event: CatalogEvent, what: str) -> list[Decided]:
    """An edit of what exists; an edit that changes nothing decides nothing."""
    held = _existing(command, state, event.kind, event.id, what)
    if _same(held.body, event.body):  # type: ignore[attr-defined]  # every setting event has a body
        return []
    return [Decided(event, held.sequence)]


def _same(held: Record | None, wanted: Record) -> bool:
    # As the log would have them: to Python, 1 and true are equal.
    return held is not None and _written(held) == _written(wanted)


def _written(body: Record) -> bytes:
    return msgspec.json.encode(body, order="deterministic")


def _upsert(command: c.Command, state: Catalog, event: CatalogEvent) -> list[Decided]:
    held = state.held(event.kind, event.id)
    _expected(command, held)
    if held is not None and _same(held.body, event.body):  # type: ignore[attr-defined]  # as above
        return []
    return [Decided(event, held.sequence if held else 0)]


def _remove(command: c.Command, state: Catalog, event: CatalogEvent, what: str) -> list[Decided]:
    held = _existing(command, state, event.kind, event.id, what)
    return [Decided(event, held.sequence)]


def _expected(command: c.Command, held: Held | None) -> None:
    if command.expects is None:
        return
    found = held.generation if held else 0
    if found != command.expects:
        raise Conflict(f"you edited generation {command.expects}, the document is at {found}")


# Directories


def check_virtual_path(path: str) -> None:
    """Refuse a path that cannot name a virtual directory."""
    parts = path.split("/")[1:]
    if not path.startswith("/"):
        raise Refused("bad_path", f"a virtual path starts with a slash: {path!r}")
    if path != ROOT and any(part in ("", ".", "..") for part in parts):
        raise Refused("bad_path", f"a virtual path has no empty, . or .. part: {path!r}")
    if "\x00" in path or any(len(part.encode()) > 255 for part in parts):
        raise Refused("bad_path", f"a part of the path holds NUL or is over 255 bytes: {path!r}")
    if any(f"{path}/".startswith(prefix) for prefix in RESERVED_PREFIXES):
        raise Refused("reserved_path", f"the path is reserved: {path!r}")


def directory_id(virtual_path: str) -> str:
    return ids.directory_doc(virtual_path).partition("::")[2]


def _check_directory(body: v.DirectoryBody) -> None:
    check_virtual_path(body.virtual_path)
    seen: set[str] = set()
    for number, mount in enumerate(body.mounts, 1):
        where = f"mount {number} of {body.virtual_path}"
        if mount.id in seen:
            raise Refused("bad_mount", f"{where}: the id {mount.id!r} is used twice")
        seen.add(mount.id)
        if not mount.path.startswith("/"):
            raise Refused("bad_mount", f"{where}: the source path is not absolute: {mount.path!r}")


@decide.register
def _(command: c.CreateDirectory, state: Catalog) -> list[Decided]:
    _check_directory(command.body)
    path = command.body.virtual_path
    parent = path.rpartition("/")[0] or ROOT
    if path != ROOT:
        held = state.held("directory", directory_id(parent))
        if parent != ROOT and (held is None or held.body is None):
            raise Refused("no_parent", f"there is no directory {parent}: create it first")
    event = v.DirectoryCreated(id=directory_id(path), body=command.body)
    return _create(command, state, event, f"the directory {path}", event.id)


@decide.register
def _(command: c.EditDirectory, state: Catalog) -> list[Decided]:
    _check_directory(command.body)
    path = command.body.virtual_path
    event = v.DirectoryEdited(id=directory_id(path), body=command.body)
    return _set(command, state, event, f"directory {path}")


@decide.register
def _(command: c.RemoveDirectory, state: Catalog) -> list[Decided]:
    path = command.virtual_path
    held = _existing(command, state, "directory", directory_id(path), f"directory {path}")
    if path == ROOT or (isinstance(held.body, v.DirectoryBody) and held.body.system):
        raise Refused("system_directory", f"{path} belongs to the system and stays")
    children = list(state.below(path))
    below = sorted((each.virtual_path for each in children), reverse=True)
    if below and not command.cascade:
        raise Refused("not_empty", f"{path} has {len(below)} directories below it")
    for each in children:
        if each.system:
            raise Refused(
                "system_directory", f"{each.virtual_path} belongs to the system and stays"
            )
    if len(below) >= MOST_EVENTS:
        raise Refused(
            "too_many", f"{path} has {len(below)} directories below it: remove some first"
        )
    decided = []
    # Deepest first, so that at no moment a directory stands without its parent.
    for gone in [*below, path]:
        found = state.held("directory", directory_id(gone))
        if found is not None and found.body is not None:
            event = v.DirectoryRemoved(id=directory_id(gone))
            decided.append(Decided(event, found.sequence))
    return decided


# Labels


def _check_labels(labels: list[str]) -> None:
    for label in labels:
        if not _LABEL.fullmatch(label) or label != label.strip():
            raise Refused(
                "bad_label",
                f"a label has 1 to 100 characters, no comma and no outer blanks: {label!r}",
            )
    if len(set(labels)) != len(labels):
        raise Refused("bad_label", "a label is named twice")


@decide.register
def _(command: c.AssignLabels, state: Catalog) -> list[Decided]:
    try:
        ids.file_id_bytes(command.file_id)
    except ValueError:
        raise Refused("bad_id", f"not a file id: {command.file_id!r}") from None
    _check_labels(command.labels)
    held = state.held("label", command.file_id)
    _expected(command, held)
    if not command.labels:
        if held is None or held.body is None:
            return []
        return [Decided(v.LabelsCleared(id=command.file_id), held.sequence)]
    body = v.LabelsBody(file_id=command.file_id, labels=sorted(command.labels))
    return _upsert(command, state, v.LabelsAssigned(id=command.file_id, body=body))


def _check_label_rule(body: v.LabelRuleBody) -> None:
    _check_labels(body.labels)
    if not body.labels:
        raise Refused("bad_label", "a label rule without labels does nothing")
    if not body.path_prefix.startswith("/") or not body.path_prefix.endswith("/"):
        raise Refused("bad_prefix", f"a prefix starts and ends with a slash: {body.path_prefix!r}")
    if body.node != "*" and not ids.is_node_id(body.node):
        raise Refused("bad_node", f"not a node id: {body.node!r}")


def _check_rule_id(id: str) -> None:
    if not _RULE_ID.fullmatch(id):
        raise Refused("bad_id", f"not an id for a rule: {id!r}")


@decide.register
def _(command: c.CreateLabelRule, state: Catalog) -> list[Decided]:
    _check_rule_id(command.id)
    _check_label_rule(command.body)
    event = v.LabelRuleCreated(id=command.id, body=command.body)
    return _create(command, state, event, f"the label rule {command.id}", command.id)


@decide.register
def _(command: c.EditLabelRule, state: Catalog) -> list[Decided]:
    _check_label_rule(command.body)
    event = v.LabelRuleEdited(id=command.id, body=command.body)
    return _set(command, state, event, f"label rule {command.id}")


@decide.register
def _(command: c.RemoveLabelRule, state: Catalog) -> list[Decided]:
    event = v.LabelRuleRemoved(id=command.id)
    return _remove(command, state, event, f"label rule {command.id}")


# Plugins, backends, replication


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name) or ".." in name:
        raise Refused("bad_name", f"not a name for {what}: {name!r}")


@decide.register
def _(command: c.ConfigurePlugin, state: Catalog) -> list[Decided]:
    body = command.body
    _check_name(body.plugin_name, "a plugin")
    if not ids.is_node_id(body.node):
        raise Refused("bad_node", f"not a node id: {body.node!r}")
    if not (1 <= body.workers <= 64 and body.timeout_s >= 1 and body.max_attempts >= 1):
        raise Refused("bad_plugin", "workers are 1 to 64, timeout and attempts at least 1")
    event = v.PluginConfigured(id=f"{body.node}::{body.plugin_name}", body=body)
    return _upsert(command, state, event)


@decide.register
def _(command: c.RemovePlugin, state: Catalog) -> list[Decided]:
    event = v.PluginRemoved(id=f"{command.node}::{command.plugin_name}")
    return _remove(command, state, event, f"plugin {command.plugin_name} on {command.node}")


@decide.register
def _(command: c.ConfigureBackend, state: Catalog) -> list[Decided]:
    _check_name(command.body.name, "a storage backend")
    event = v.BackendConfigured(id=command.body.name, body=command.body)
    return _upsert(command, state, event)


@decide.register
def _(command: c.RemoveBackend, state: Catalog) -> list[Decided]:
    event = v.BackendRemoved(id=command.name)
    return _remove(command, state, event, f"storage backend {command.name}")


def _check_replication(body: v.ReplicationRuleBody, state: Catalog) -> None:
    target = state.held("backend", body.target)
    if target is None or not isinstance(target.body, v.BackendBody):
        raise Refused("no_target", f"there is no storage backend {body.target!r}")
    if target.body.mode == "source":
        raise Refused("no_target", f"the storage backend {body.target!r} is a source only")
    if body.retention_days < 0:
        raise Refused("bad_rule", "retention is 0 days or more")


@decide.register
def _(command: c.CreateReplicationRule, state: Catalog) -> list[Decided]:
    _check_rule_id(command.id)
    _check_replication(command.body, state)
    event = v.ReplicationRuleCreated(id=command.id, body=command.body)
    return _create(command, state, event, f"the replication rule {command.id}", command.id)


@decide.register
def _(command: c.EditReplicationRule, state: Catalog) -> list[Decided]:
    _check_replication(command.body, state)
    event = v.ReplicationRuleEdited(id=command.id, body=command.body)
    return _set(command, state, event, f"replication rule {command.id}")


@decide.register
def _(command: c.RemoveReplicationRule, state: Catalog) -> list[Decided]:
    event = v.ReplicationRuleRemoved(id=command.id)
    return _remove(command, state, event, f"replication rule {command.id}")


# Identity


@decide.register
def _(command: c.IssueCredential, state: Catalog) -> list[Decided]:
    key = command.body.access_key_id
    if not _ACCESS_KEY.fullmatch(key):
        raise Refused("bad_id", f"not an access key id: {key!r}")
    event = v.CredentialIssued(id=key, body=command.body)
    return _create(command, state, event, f"the credential {key}", key)


@decide.register
def _(command: c.EditCredential, state: Catalog) -> list[Decided]:
    key = command.body.access_key_id
    return _set(command, state, v.CredentialEdited(id=key, body=command.body), f"credential {key}")


@decide.register
def _(command: c.RevokeCredential, state: Catalog) -> list[Decided]:
    key = command.access_key_id
    return _remove(command, state, v.CredentialRevoked(id=key), f"credential {key}")


@decide.register
def _(command: c.CreateUser, state: Catalog) -> list[Decided]:
    _check_name(command.body.name, "a user")
    event = v.UserCreated(id=command.body.name, body=command.body)
    return _create(command, state, event, f"the user {command.body.name}", event.id)


@decide.register
def _(command: c.EditUser, state: Catalog) -> list[Decided]:
    event = v.UserEdited(id=command.body.name, body=command.body)
    return _set(command, state, event, f"user {command.body.name}")


@decide.register
def _(command: c.RemoveUser, state: Catalog) -> list[Decided]:
    return _remove(command, state, v.UserRemoved(id=command.name), f"user {command.name}")


@decide.register
def _(command: c.ChangeSetting, state: Catalog) -> list[Decided]:
    _check_name(command.key, "a setting")
    body = v.SettingBody(key=command.key, value=command.value)
    return _upsert(command, state, v.SettingChanged(id=command.key, body=body))


@decide.register
def _(command: c.ResetSetting, state: Catalog) -> list[Decided]:
    return _remove(command, state, v.SettingReset(id=command.key), f"setting {command.key}")


@decide.register
def _(command: c.ConfigureNode, state: Catalog) -> list[Decided]:
    if not ids.is_node_id(command.node):
        raise Refused("bad_node", f"not a node id: {command.node!r}")
    mounts = [mount.mount_id for mount in command.body.network_mounts]
    if len(set(mounts)) != len(mounts):
        raise Refused("bad_mount", "a mount id is used twice")
    return _upsert(command, state, v.NodeConfigured(id=command.node, body=command.body))


@decide.register
def _(command: c.RemoveNode, state: Catalog) -> list[Decided]:
    return _remove(command, state, v.NodeRemoved(id=command.node), f"node {command.node}")
