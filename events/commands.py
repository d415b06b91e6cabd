"""What people may ask for. A command is refused, or it becomes events; see `events.decide`."""

from __future__ import annotations

from typing import Any

import msgspec

from events.vocabulary.catalog import (
    BackendBody,
    CredentialBody,
    DirectoryBody,
    LabelRuleBody,
    NodeBody,
    PluginBody,
    ReplicationRuleBody,
    UserBody,
)


class Command(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="command", forbid_unknown_fields=True
):
    """A wish. `expects` is the generation that the asker saw; another one is a conflict."""

    expects: int | None = None


class CreateDirectory(Command, frozen=True, kw_only=True, tag="directory.create"):
    body: DirectoryBody


class EditDirectory(Command, frozen=True, kw_only=True, tag="directory.edit"):
    body: DirectoryBody


class RemoveDirectory(Command, frozen=True, kw_only=True, tag="directory.remove"):
    virtual_path: str
    cascade: bool = False


class AssignLabels(Command, frozen=True, kw_only=True, tag="labels.assign"):
    """These and no other direct labels; none clears them."""

    file_id: str
    labels: list[str]


class CreateLabelRule(Command, frozen=True, kw_only=True, tag="label_rule.create"):
    id: str
    body: LabelRuleBody


class EditLabelRule(Command, frozen=True, kw_only=True, tag="label_rule.edit"):
    id: str
    body: LabelRuleBody


class RemoveLabelRule(Command, frozen=True, kw_only=True, tag="label_rule.remove"):
    id: str


class ConfigurePlugin(Command, frozen=True, kw_only=True, tag="plugin.configure"):
    body: PluginBody


class RemovePlugin(Command, frozen=True, kw_only=True, tag="plugin.remove"):
    node: str
    plugin_name: str


class ConfigureBackend(Command, frozen=True, kw_only=True, tag="backend.configure"):
    body: BackendBody


class RemoveBackend(Command, frozen=True, kw_only=True, tag="backend.remove"):
    name: str


class CreateReplicationRule(Command, frozen=True, kw_only=True, tag="replication_rule.create"):
    id: str
    body: ReplicationRuleBody


class EditReplicationRule(Command, frozen=True, kw_only=True, tag="replication_rule.edit"):
    id: str
    body: ReplicationRuleBody


class RemoveReplicationRule(Command, frozen=True, kw_only=True, tag="replication_rule.remove"):
    id: str


class IssueCredential(Command, frozen=True, kw_only=True, tag="credential.issue"):
    body: CredentialBody


class EditCredential(Command, frozen=True, kw_only=True, tag="credential.edit"):
    body: CredentialBody


class RevokeCredential(Command, frozen=True, kw_only=True, tag="credential.revoke"):
    access_key_id: str


class CreateUser(Command, frozen=True, kw_only=True, tag="user.create"):
    body: UserBody


class EditUser(Command, frozen=True, kw_only=True, tag="user.edit"):
    body: UserBody


class RemoveUser(Command, frozen=True, kw_only=True, tag="user.remove"):
    name: str


class ChangeSetting(Command, frozen=True, kw_only=True, tag="setting.change"):
    key: str
    value: Any


class ResetSetting(Command, frozen=True, kw_only=True, tag="setting.reset"):
    key: str


class ConfigureNode(Command, frozen=True, kw_only=True, tag="node.configure"):
    node: str
    body: NodeBody


class RemoveNode(Command, frozen=True, kw_only=True, tag="node.remove"):
    node: str


AnyCommand = (
    CreateDirectory
    | EditDirectory
    | RemoveDirectory
    | AssignLabels
    | CreateLabelRule
    | EditLabelRule
    | RemoveLabelRule
    | ConfigurePlugin
    | RemovePlugin
    | ConfigureBackend
    | RemoveBackend
    | CreateReplicationRule
    | EditReplicationRule
    | RemoveReplicationRule
    | IssueCredential
    | EditCredential
    | RevokeCredential
    | CreateUser
    | EditUser
    | RemoveUser
    | ChangeSetting
    | ResetSetting
    | ConfigureNode
    | RemoveNode
)
