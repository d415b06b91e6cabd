"""CATALOG: what people configure. One subject per document, appended with the expected sequence.

Each event that sets a document states it whole (a `…Body`), so that the last one alone tells what
holds, and the difference between two is what somebody changed.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from events.vocabulary.base import Event, Record
from events.vocabulary.rules import AnyStep

Kind = Literal[
    "directory",
    "label",
    "label_rule",
    "plugin",
    "backend",
    "replication_rule",
    "credential",
    "user",
    "setting",
    "node",
]


class Sealed(Record, frozen=True, kw_only=True):
    """A secret as it may stand in the log: encrypted with a key of the keyring, named by `key`.

    Deleting that key deletes the secret from every copy of the log.
    """

    key: str
    nonce: str
    box: str


class CatalogEvent(Event, frozen=True, kw_only=True):
    """`id` is the part of the document id behind its prefix."""

    area: ClassVar[str] = "catalog"
    kind: ClassVar[Kind]
    id: str


class MountSource(Record, frozen=True, kw_only=True):
    """Where a directory takes its files from, and through which steps."""

    id: str
    node: str
    path: str
    strategy: Literal["prefix_replace", "flatten"] = "prefix_replace"
    source_prefix: str | None = None
    steps: list[AnyStep] = []
    default_result: Literal["include", "exclude"] = "exclude"
    conflict_policy: Literal["last_write_wins", "suffix_node_id"] = "suffix_node_id"


class DirectoryBody(Record, frozen=True, kw_only=True):
    virtual_path: str
    mounts: list[MountSource] = []
    steps: list[AnyStep] = []
    enforce_steps_on_children: bool = False
    system: bool = False


class DirectoryCreated(CatalogEvent, frozen=True, kw_only=True, tag="directory.created"):
    kind: ClassVar[Kind] = "directory"
    body: DirectoryBody


class DirectoryEdited(CatalogEvent, frozen=True, kw_only=True, tag="directory.edited"):
    kind: ClassVar[Kind] = "directory"
    body: DirectoryBody


class DirectoryRemoved(CatalogEvent, frozen=True, kw_only=True, tag="directory.removed"):
    kind: ClassVar[Kind] = "directory"


class LabelsBody(Record, frozen=True, kw_only=True):
    file_id: str
    labels: list[str]


class LabelsAssigned(CatalogEvent, frozen=True, kw_only=True, tag="labels.assigned"):
    """The direct labels of a file are exactly these; `id` is the file's id."""

    kind: ClassVar[Kind] = "label"
    body: LabelsBody


class LabelsCleared(CatalogEvent, frozen=True, kw_only=True, tag="labels.cleared"):
    kind: ClassVar[Kind] = "label"


class LabelRuleBody(Record, frozen=True, kw_only=True):
    """Every file of the node below the prefix bears the labels. `node` is `*` for all nodes."""

    name: str
    node: str
    path_prefix: str
    labels: list[str]
    enabled: bool = True


class LabelRuleCreated(CatalogEvent, frozen=True, kw_only=True, tag="label_rule.created"):
    kind: ClassVar[Kind] = "label_rule"
    body: LabelRuleBody


class LabelRuleEdited(CatalogEvent, frozen=True, kw_only=True, tag="label_rule.edited"):
    kind: ClassVar[Kind] = "label_rule"
    body: LabelRuleBody


class LabelRuleRemoved(CatalogEvent, frozen=True, kw_only=True, tag="label_rule.removed"):
    kind: ClassVar[Kind] = "label_rule"


class DispatchRule(Record, frozen=True, kw_only=True):
    name: str
    steps: list[AnyStep]
    default_result: Literal["include", "exclude"] = "exclude"


class PluginBody(Record, frozen=True, kw_only=True):
    node: str
    plugin_name: str
    plugin_type: Literal["executable", "socket"]
    enabled: bool = True
    subscribed_events: list[str] = []
    dispatch_rules: list[DispatchRule] = []
    query_endpoints: list[str] = []
    settings: dict[str, Any] = {}
    secrets: dict[str, Sealed] = {}
    settings_schema: dict[str, Any] = {}
    workers: int = 2
    timeout_s: int = 60
    max_attempts: int = 3
    health_check_interval_s: int = 300
    provides_filesystem: bool = False
    file_path_prefix: str | None = None


class PluginConfigured(CatalogEvent, frozen=True, kw_only=True, tag="plugin.configured"):
    """`id` is `{node}::{plugin}`."""

    kind: ClassVar[Kind] = "plugin"
    body: PluginBody


class PluginRemoved(CatalogEvent, frozen=True, kw_only=True, tag="plugin.removed"):
    kind: ClassVar[Kind] = "plugin"


class BackendBody(Record, frozen=True, kw_only=True):
    name: str
    backend: str
    mode: Literal["source", "target", "bidirectional"]
    hosting_node: str
    enabled: bool = True
    settings: dict[str, Any] = {}
    secrets: dict[str, Sealed] = {}
    poll_interval_s: int | None = None
    bandwidth_limit: int | None = None
    schedule: str | None = None


class BackendConfigured(CatalogEvent, frozen=True, kw_only=True, tag="backend.configured"):
    kind: ClassVar[Kind] = "backend"
    body: BackendBody


class BackendRemoved(CatalogEvent, frozen=True, kw_only=True, tag="backend.removed"):
    kind: ClassVar[Kind] = "backend"


class ReplicationRuleBody(Record, frozen=True, kw_only=True):
    name: str
    target: str
    source_node: str = "*"
    path_prefix: str | None = None
    steps: list[AnyStep] = []
    default_result: Literal["include", "exclude"] = "exclude"
    remove_unmatched: bool = False
    retention_days: int = 30
    enabled: bool = True


class ReplicationRuleCreated(
    CatalogEvent, frozen=True, kw_only=True, tag="replication_rule.created"
):
    kind: ClassVar[Kind] = "replication_rule"
    body: ReplicationRuleBody


class ReplicationRuleEdited(CatalogEvent, frozen=True, kw_only=True, tag="replication_rule.edited"):
    kind: ClassVar[Kind] = "replication_rule"
    body: ReplicationRuleBody


class ReplicationRuleRemoved(
    CatalogEvent, frozen=True, kw_only=True, tag="replication_rule.removed"
):
    kind: ClassVar[Kind] = "replication_rule"


class CredentialBody(Record, frozen=True, kw_only=True):
    """The secret itself is nowhere: `secret_hash` is Argon2id, `signing_key` is sealed."""

    access_key_id: str
    name: str
    secret_hash: str
    signing_key: Sealed
    node: str | None = None
    enabled: bool = True


class CredentialIssued(CatalogEvent, frozen=True, kw_only=True, tag="credential.issued"):
    kind: ClassVar[Kind] = "credential"
    body: CredentialBody


class CredentialEdited(CatalogEvent, frozen=True, kw_only=True, tag="credential.edited"):
    """Renamed, bound to a node, enabled or disabled."""

    kind: ClassVar[Kind] = "credential"
    body: CredentialBody


class CredentialRevoked(CatalogEvent, frozen=True, kw_only=True, tag="credential.revoked"):
    kind: ClassVar[Kind] = "credential"


class UserBody(Record, frozen=True, kw_only=True):
    name: str
    password_hash: str
    roles: list[str]
    # Raised by logout-everywhere and by a password change; older tokens are then worthless.
    token_epoch: int = 0


class UserCreated(CatalogEvent, frozen=True, kw_only=True, tag="user.created"):
    kind: ClassVar[Kind] = "user"
    body: UserBody


class UserEdited(CatalogEvent, frozen=True, kw_only=True, tag="user.edited"):
    kind: ClassVar[Kind] = "user"
    body: UserBody


class UserRemoved(CatalogEvent, frozen=True, kw_only=True, tag="user.removed"):
    kind: ClassVar[Kind] = "user"


class SettingBody(Record, frozen=True, kw_only=True):
    key: str
    value: Any


class SettingChanged(CatalogEvent, frozen=True, kw_only=True, tag="setting.changed"):
    kind: ClassVar[Kind] = "setting"
    body: SettingBody


class SettingReset(CatalogEvent, frozen=True, kw_only=True, tag="setting.reset"):
    kind: ClassVar[Kind] = "setting"


class NetworkMount(Record, frozen=True, kw_only=True):
    """How this node reaches another node's files without asking its agent."""

    mount_id: str
    remote_node: str
    remote_path: str
    local_path: str
    mount_type: Literal["cifs", "nfs", "icloud_local", "gdrive_local"]
    priority: int = 10


class NodeBody(Record, frozen=True, kw_only=True):
    """What people decide about a node; what the node says of itself is in NODES."""

    friendly_name: str | None = None
    network_mounts: list[NetworkMount] = []
    public_key: str | None = None
    disabled: bool = False


class NodeConfigured(CatalogEvent, frozen=True, kw_only=True, tag="node.configured"):
    kind: ClassVar[Kind] = "node"
    body: NodeBody


class NodeRemoved(CatalogEvent, frozen=True, kw_only=True, tag="node.removed"):
    """The node may no longer connect; its documents stay."""

    kind: ClassVar[Kind] = "node"
