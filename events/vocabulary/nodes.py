"""NODES and UTILIZATION: what a machine says of itself.

NODES keeps the last message of each subject only, so every event is a whole statement and carries
`v`, one counter per document kept by the agent: the document's generation is then the same whether
a view saw every heartbeat or only the last. Utilization needs its history and has a stream of its
own.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from events.vocabulary.base import Event, Record, Time
from events.vocabulary.files import Count, Version

Platform = Literal["linux", "darwin", "other"]


class Filesystem(Record, frozen=True, kw_only=True):
    """One filesystem under a watch path."""

    mount: str
    device: str
    kind: str
    capacity: int
    available: int
    watch_paths: list[str] = []


class NodeRegistered(Event, frozen=True, kw_only=True, tag="node.registered"):
    """The agent started: who it is, what it watches, what it stores on, what it can do."""

    area: ClassVar[str] = "nodes"
    v: Version
    friendly_name: str
    hostname: str
    platform: Platform
    agent_version: str
    watch_paths: list[str]
    storage: list[Filesystem]
    role: Literal["machine", "bridge"] = "machine"
    transfer_endpoint: str | None = None
    capabilities: list[str] = []


class NodeOnline(Event, frozen=True, kw_only=True, tag="node.online"):
    """The node is there; repeated every 30 seconds as its heartbeat."""

    area: ClassVar[str] = "nodes"
    v: Version


class NodeOffline(Event, frozen=True, kw_only=True, tag="node.offline"):
    """The node left on purpose, or the control plane missed its heartbeats."""

    area: ClassVar[str] = "nodes"
    v: Version
    reason: Literal["shutdown", "missed_heartbeats"] = "shutdown"


class Subsystem(Record, frozen=True, kw_only=True):
    """The health of one part of an agent, in one word and one sentence."""

    name: str
    state: Literal["ok", "degraded", "failed", "off"]
    detail: str = ""


class AgentError(Record, frozen=True, kw_only=True):
    """One of the last errors of an agent."""

    at: Time
    operation: str
    message: str
    path: str | None = None


class NodeStatus(Event, frozen=True, kw_only=True, tag="node.status"):
    """How the agent is doing: published when something changed, and at least every 5 minutes."""

    area: ClassVar[str] = "nodes"
    v: Version
    subsystems: list[Subsystem]
    files: Count
    outbox: Count
    last_crawl_at: Time | None = None
    last_crawl_ms: Count | None = None
    unreadable: list[str] = []
    errors: list[AgentError] = []
    available_plugins: list[str] = []


class UtilizationMeasured(Event, frozen=True, kw_only=True, tag="utilization.measured"):
    """How full the node's filesystems are; hourly."""

    area: ClassVar[str] = "utilization"
    taken_at: Time
    filesystems: list[Filesystem]
