"""Virtual directories: the documents that say what the virtual tree is made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from events import commands
from events.decide import directory_id
from events.ids import directory_doc, is_node_id, new_uuid
from events.vocabulary.catalog import DirectoryBody, MountSource
from events.vocabulary.rules import AnyStep
from gateway.api.shapes import Written, document, generation, plain, written
from gateway.errors import Invalid
from gateway.routing import Call, delete, get, patch, post

VirtualPath = Annotated[str, msgspec.Meta(pattern="^/", max_length=4096)]
Steps = Annotated[list[AnyStep], msgspec.Meta(max_length=200)]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a directory takes files from. Without an id it gets one."""

    node: str
    path: Annotated[str, msgspec.Meta(pattern="^/", max_length=4096)]
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    strategy: Literal["prefix_replace", "flatten"] = "prefix_replace"
    source_prefix: str | None = None
    steps: Steps = []
    default_result: Literal["include", "exclude"] = "exclude"
    conflict_policy: Literal["last_write_wins", "suffix_node_id"] = "suffix_node_id"


Sources = Annotated[list[Source], msgspec.Meta(max_length=100)]


class NewDirectory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    virtual_path: VirtualPath
    mounts: Sources = []
    steps: Steps = []
    enforce_steps_on_children: bool = False


class DirectoryPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not given stays; what is given replaces the whole field."""

    mounts: Sources | UnsetType = UNSET
    steps: Steps | UnsetType = UNSET
    enforce_steps_on_children: bool | UnsetType = UNSET


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual directory. `id` is `root`, or the SHA-256 of the path."""

    id: str
    rev: str
    virtual_path: str
    mounts: list[MountSource]
    steps: list[AnyStep]
    enforce_steps_on_children: bool
    system: bool
    created_at: str
    updated_at: str


class Directories(msgspec.Struct, frozen=True):
    directories: list[Directory]


class DirectoriesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, msgspec.Meta(description="Only the directory at this path.")] | None = None


class RemoveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cascade: Annotated[
        bool, msgspec.Meta(description="Also every directory below, all or none.")
    ] = False


def _directory(body: dict[str, Any]) -> Directory:
    id = str(body["_id"]).removeprefix("dir::")
    return msgspec.convert({**plain(body), "id": id}, Directory)


def _sources(sources: list[Source]) -> list[MountSource]:
    made = []
    for each in sources:
        if not is_node_id(each.node):
            raise Invalid(f"not a node id: {each.node[:100]!r}")
        if "\0" in each.path + (each.source_prefix or ""):
            raise Invalid("a path cannot hold NUL")
        made.append(MountSource(**{**msgspec.structs.asdict(each), "id": each.id or new_uuid()}))
    return made


@get("/api/vfs/directories", tag="directories", problems=(400,))
async def directories(call: Call, query: DirectoriesQuery) -> Directories:
    """Every virtual directory, in order of its path."""
    if query.path is None:
        bodies = await call.context.views.read(lambda view: view.documents("virtual_directory"))
    else:
        doc = directory_doc(query.path)
        found = await call.context.views.read(lambda view: view.document(doc))
        bodies = [] if found is None else [found]
    return Directories(sorted(map(_directory, bodies), key=lambda each: each.virtual_path))


@post("/api/vfs/directories", tag="directories", status=201, problems=(409,))
async def create_directory(call: Call, body: NewDirectory) -> Written:
    """Make a virtual directory; its parent must be there, unless that is the root."""
    wanted = DirectoryBody(
        virtual_path=body.virtual_path,
        mounts=_sources(body.mounts),
        steps=body.steps,
        enforce_steps_on_children=body.enforce_steps_on_children,
    )
    command = commands.CreateDirectory(body=wanted)
    committed = await call.context.commands.submit(command, call.principal.name)
    call.headers["location"] = f"/api/vfs/directories/{directory_id(body.virtual_path)}"
    return await written(call, committed, directory_doc(body.virtual_path))


@get("/api/vfs/directories/{directory}", tag="directories")
async def directory(call: Call, directory: str) -> Directory:
    """One virtual directory."""
    body = await document(call, f"dir::{directory}", "such directory")
    call.etag = body["_rev"]
    return _directory(body)


@patch("/api/vfs/directories/{directory}", tag="directories", conditional=True)
async def edit_directory(call: Call, directory: str, body: DirectoryPatch) -> Written:
    """Change a virtual directory. Its path stays what it is."""
    doc = f"dir::{directory}"
    present = await document(call, doc, "such directory")
    known = _directory(present)
    wanted = DirectoryBody(
        virtual_path=known.virtual_path,
        mounts=known.mounts if body.mounts is UNSET else _sources(body.mounts),
        steps=known.steps if body.steps is UNSET else body.steps,
        enforce_steps_on_children=(
            known.enforce_steps_on_children
            if body.enforce_steps_on_children is UNSET
            else body.enforce_steps_on_children
        ),
        system=known.system,
    )
    asked = call.expects(doc)
    command = commands.EditDirectory(
        # What was not given is taken from this generation, so no other may be overwritten.
        body=wanted,
        expects=generation(present) if asked is None else asked,
    )
    committed = await call.context.commands.submit(command, call.principal.name)
    return await written(call, committed, doc)


@delete("/api/vfs/directories/{directory}", tag="directories", conditional=True)
async def remove_directory(call: Call, directory: str, query: RemoveQuery) -> Written:
    """Remove a virtual directory. What it shows stays where it is."""
    doc = f"dir::{directory}"
    present = await document(call, doc, "such directory")
    command = commands.RemoveDirectory(
        virtual_path=present["virtual_path"], cascade=query.cascade, expects=call.expects(doc)
    )
    committed = await call.context.commands.submit(command, call.principal.name)
    return await written(call, committed, doc)
