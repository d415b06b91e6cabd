"""The databases, and what exists in each: a default-deny allowlist of document types.

This is the one predicate behind every endpoint. A type that is not named here is in no database; a
filter that a client chooses can only narrow what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from projectors.documents.couch import Audience

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.couch.answers import Json

_EVERYDAY: Final = frozenset(
    {
        "access",
        "agent_status",
        "annotation",
        "file",
        "label_assignment",
        "label_rule",
        "node",
        "notification",
        "plugin",
        "replica",
        "replication_rule",
        "storage_backend",
        "virtual_directory",
    }
)
_OPERATIONS: Final = _EVERYDAY | {"credential", "setting", "user", "utilization_snapshot"}

# Types whose bodies may hold a secret, sealed or hashed. They are cleaned before anybody sees them.
GUARDED: Final = frozenset({"credential", "plugin", "setting", "storage_backend", "user"})
_SECRET_KEYS: Final = frozenset(
    {"password_hash", "secret_hash", "secrets", "signing_key", "token_epoch"}
)
_SEALED: Final = frozenset({"key", "nonce", "box"})


def clean(type_: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body without its secrets, at whatever depth they stand."""
    if type_ not in GUARDED:
        return body
    return {key: _cleaned(value) for key, value in body.items() if _harmless(key, value)}


def _cleaned(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _cleaned(each) for key, each in value.items() if _harmless(key, each)}
    if isinstance(value, list):
        return [_cleaned(each) for each in value if _harmless("", each)]
    return value


def _harmless(key: str, value: Json) -> bool:
    return key not in _SECRET_KEYS and not (isinstance(value, dict) and value.keys() >= _SEALED)


class Database(NamedTuple):
    """`roles` None: for everybody who is logged in."""

    name: str
    audience: Audience
    roles: frozenset[str] | None

    def open_to(self, roles: Collection[str]) -> bool:
        return self.roles is None or not self.roles.isdisjoint(roles)


DATABASES: Final = {
    database.name: database
    for database in (
        Database("mosaic", Audience(_EVERYDAY, clean), None),
        Database("ops", Audience(_OPERATIONS, clean), frozenset({"admin", "machine"})),
    )
}
