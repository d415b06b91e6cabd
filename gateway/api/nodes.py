"""Nodes: what they say of themselves, and what people configure about them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from events.clock import now
from events.commands import ConfigureNode
from events.errors import Refused
from events.ids import NodeId, agent_status_doc, is_node_id, new_uuid, node_doc
from events.moments import unix_ms
from events.vocabulary.catalog import NetworkMount, NodeBody
from events.vocabulary.nodes import AgentError, Filesystem, Subsystem
from gateway.api.shapes import Written, document
from gateway.commands import Stale
from gateway.errors import Invalid, NotFound
from gateway.routing import Call, delete, get, patch, post, put

# A node that says nothing for three heartbeats is taken for offline.
_SILENT_MS: int = 95_000


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine. `rev` changes with each heartbeat; `configured_rev` only when people change
    something, and is what If-Match takes."""

    id: str
    rev: str
    configured_rev: str
    name: str
    status: Literal["online", "offline", "unknown"]
    disabled: bool = False
    role: Literal["machine", "bridge"] = "machine"
    hostname: str | None = None
    platform: str | None = None
    agent_version: str | None = None
    last_heartbeat: str | None = None
    registered_at: str | None = None
    watch_paths: list[str] = []
    storage: list[Filesystem] = []
    capabilities: list[str] = []
    transfer_endpoint: str | None = None
    network_mounts: list[NetworkMount] = []


class Nodes(msgspec.Struct, frozen=True):
    nodes: list[Node]


class NodePatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is not given stays. A name of null brings back the machine's own."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent of a node is doing, in its own words."""

    node: str
    rev: str
    updated_at: str
    subsystems: list[Subsystem]
    files: int
    outbox: int
    last_crawl_at: str | None = None
    last_crawl_ms: int | None = None
    unreadable: list[str] = []
    errors: list[AgentError] = []
    available_plugins: list[str] = []


Kind = Literal["cifs", "nfs", "icloud_local", "gdrive_local"]
Path = Annotated[str, msgspec.Meta(pattern="^/", max_length=4096)]


class MountBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How this node reaches another node's files without asking its agent."""

    remote_node: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
    remote_path: Path
    local_path: Path
    mount_type: Kind
    priority: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 10


class Mounts(msgspec.Struct, frozen=True):
    mounts: list[NetworkMount]


def _configured(body: dict[str, Any]) -> int:
    """The moment at which people last configured a node, in milliseconds; 0 if they never did."""
    at = body.get("configured_at")
    return unix_ms(at) if at else 0


def _node(body: dict[str, Any]) -> Node:
    id = str(body["_id"]).removeprefix("node::")
    return msgspec.convert(
        {
            **body,
            "id": id,
            "rev": body["_rev"],
            "configured_rev": f"c{_configured(body)}",
            "name": body.get("friendly_name") or body.get("default_name") or id,
            "status": _status(body),
        },
        Node,
    )


def _status(body: dict[str, Any]) -> str:
    if "status" not in body:
        return "unknown"
    heard = body.get("last_heartbeat")
    silent = heard is None or unix_ms(now()) - unix_ms(heard) > _SILENT_MS
    return "offline" if body["status"] == "online" and silent else str(body["status"])


async def _body(call: Call, node: str) -> dict[str, Any]:
    if not is_node_id(node):
        raise NotFound("there is no such node")
    return await document(call, node_doc(NodeId(node)), "such node")


def _stated(body: dict[str, Any]) -> NodeBody:
    """What people have configured about a node so far."""
    return NodeBody(
        friendly_name=body.get("friendly_name"),
        network_mounts=msgspec.convert(body.get("network_mounts", []), list[NetworkMount]),
        public_key=body.get("public_key"),
        disabled=body.get("disabled", False),
    )


async def _configure(call: Call, body: dict[str, Any], wanted: NodeBody) -> Written:
    """Store another configuration; refused as a conflict when it is not based on the last one."""
    doc, at = str(body["_id"]), _configured(body)
    asked = call.if_match()
    if asked is not None and asked not in (f"c{at}", body["_rev"]):
        raise Stale("the node was configured meanwhile", doc, f"c{at}")
    command = ConfigureNode(node=doc.removeprefix("node::"), body=wanted, expects=at)
    try:
        committed = await call.context.commands.submit(command, call.principal.name)
    except Stale as wrong:
        present = await document(call, doc, "such node")
        raise Stale(str(wrong), doc, f"c{_configured(present)}") from wrong
    after = await document(call, doc, "such node")
    return Written(committed.stream, committed.sequence, doc, f"c{_configured(after)}")


@get("/api/nodes", tag="nodes")
async def nodes(call: Call) -> Nodes:
    """Every node, also those that are disabled."""
    bodies = await call.context.views.read(lambda view: view.nodes())
    return Nodes([_node(body) for body in bodies])


@get("/api/nodes/{node}", tag="nodes")
async def node(call: Call, node: str) -> Node:
    """One node."""
    return _node(await _body(call, node))


@patch("/api/nodes/{node}", tag="nodes", conditional=True)
async def patch_node(call: Call, node: str, body: NodePatch) -> Written:
    """Name a node, disable it or enable it again.

    If-Match takes the node's `configured_rev`, and the answer's `rev` is the new one.
    """
    present = await _body(call, node)
    wanted = _stated(present)
    if body.name is not UNSET:
        wanted = msgspec.structs.replace(wanted, friendly_name=body.name)
    if body.disabled is not UNSET:
        wanted = msgspec.structs.replace(wanted, disabled=body.disabled)
    return await _configure(call, present, wanted)


@delete("/api/nodes/{node}", tag="nodes", conditional=True)
async def disable_node(call: Call, node: str) -> Written:
    """Disable a node. Its documents stay; a patch enables it again."""
    present = await _body(call, node)
    wanted = msgspec.structs.replace(_stated(present), disabled=True)
    return await _configure(call, present, wanted)


@get("/api/nodes/{node}/status", tag="nodes")
async def node_status(call: Call, node: str) -> NodeState:
    """How the node's agent is doing, as it last said."""
    await _body(call, node)
    body = await document(call, agent_status_doc(NodeId(node)), "status of this node yet")
    return msgspec.convert({**body, "node": node, "rev": body["_rev"]}, NodeState)


@get("/api/nodes/{node}/mounts", tag="nodes")
async def mounts(call: Call, node: str) -> Mounts:
    """The network mounts through which a node reaches others."""
    return Mounts(_stated(await _body(call, node)).network_mounts)


@post("/api/nodes/{node}/mounts", tag="nodes", status=201, conditional=True)
async def create_mount(call: Call, node: str, body: MountBody) -> Written:
    """Add a network mount; its id is in `Location`."""
    present = await _body(call, node)
    mount = _mount(new_uuid(), body)
    answer = await _with_mounts(call, present, [*_stated(present).network_mounts, mount])
    call.headers["location"] = f"/api/nodes/{node}/mounts/{mount.mount_id}"
    return answer


@get("/api/nodes/{node}/mounts/{mount}", tag="nodes")
async def mount(call: Call, node: str, mount: str) -> NetworkMount:
    """One network mount."""
    return _found(_stated(await _body(call, node)).network_mounts, mount)


@put("/api/nodes/{node}/mounts/{mount}", tag="nodes", conditional=True)
async def edit_mount(call: Call, node: str, mount: str, body: MountBody) -> Written:
    """Replace a network mount."""
    present = await _body(call, node)
    known = _stated(present).network_mounts
    _found(known, mount)
    edited = [_mount(mount, body) if each.mount_id == mount else each for each in known]
    return await _with_mounts(call, present, edited)


@delete("/api/nodes/{node}/mounts/{mount}", tag="nodes", conditional=True)
async def remove_mount(call: Call, node: str, mount: str) -> Written:
    """Remove a network mount."""
    present = await _body(call, node)
    known = _stated(present).network_mounts
    _found(known, mount)
    return await _with_mounts(call, present, [each for each in known if each.mount_id != mount])


def _mount(id: str, body: MountBody) -> NetworkMount:
    if "\0" in body.remote_path + body.local_path:
        raise Invalid("a path cannot hold NUL")
    return NetworkMount(mount_id=id, **msgspec.structs.asdict(body))


def _found(mounts: list[NetworkMount], id: str) -> NetworkMount:
    for each in mounts:
        if each.mount_id == id:
            return each
    raise NotFound("there is no such mount")


async def _with_mounts(call: Call, present: dict[str, Any], mounts: list[NetworkMount]) -> Written:
    if len(mounts) > 100:
        raise Refused("too_many", "a node has 100 mounts at the most")
    wanted = msgspec.structs.replace(_stated(present), network_mounts=mounts)
    return await _configure(call, present, wanted)
