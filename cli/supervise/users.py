"""Who may do what on the event log: the text of `users.conf`. Pure.

The control key may do everything. A node may publish on its own subjects, read its own part of the
streams that it restores a lost state from, and hear its own inbox only.

What this leaves open, because NATS matches whole tokens and a consumer's name is one token: a
node may create, read or delete consumers on those streams under any name. Created ones see its own
events only, because the filter is part of the subject. Reading or deleting another's needs its
name; nodes cannot list them, and those that are known by name are denied below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from events import subjects

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Stream to area: where an agent gets the identity of its files and its counters back from.
_RESTORED: Final = {"FILES": "files", "NODES": "nodes", "NOTICES": "notices"}


def node_publishes(node: str) -> list[str]:
    """The subjects that a node may publish on."""
    own = {area: f"{subjects.ROOT}.{area}.{node}" for area in subjects.GRAMMAR}
    allowed = [
        f"{own['files']}.>",
        f"{own['annotations']}.>",
        f"{own['replicas']}.>",
        own["access"],
        f"{own['nodes']}.>",
        own["utilization"],
        f"{own['notices']}.>",
        "$JS.API.STREAM.INFO.*",
    ]
    for stream, area in _RESTORED.items():
        allowed += [
            f"$JS.API.CONSUMER.CREATE.{stream}.*.{own[area]}.>",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
            f"$JS.API.CONSUMER.DELETE.{stream}.*",
        ]
    return allowed


def node_denied(consumers: Iterable[str]) -> list[str]:
    """What a node may not do to the named consumers."""
    return [
        subject
        for name in consumers
        for stream in _RESTORED
        for subject in (
            f"$JS.API.CONSUMER.CREATE.{stream}.{name}.>",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}",
            f"$JS.API.CONSUMER.DELETE.{stream}.{name}",
        )
    ]


def render(control_key: str, node_keys: Mapping[str, str], consumers: Iterable[str]) -> str:
    """The file: one user for the control plane, one for each node (id to public key)."""
    protected = node_denied(consumers)
    users = [f"    {{ nkey: {control_key} }}"]
    users += [_node(node, key, protected) for node, key in sorted(node_keys.items())]
    body = "\n".join(users)
    return (
        "# Written by `mosaicfs up`; changes made by hand are lost.\n"
        f"authorization {{\n  users: [\n{body}\n  ]\n}}\n"
    )


def _node(node: str, key: str, protected: list[str]) -> str:
    allow = _list(node_publishes(node))
    deny = f", deny: {_list(protected)}" if protected else ""
    return (
        f"    {{ nkey: {key}, permissions: {{\n"
        f"      publish: {{ allow: {allow}{deny} }}\n"
        f'      subscribe: {{ allow: ["_INBOX_{node}.>"] }}\n'
        "    } }"
    )


def _list(subjects: list[str]) -> str:
    return "[" + ", ".join(f'"{subject}"' for subject in subjects) + "]"
