"""Files: pages, one by id or path, search by name."""

from __future__ import annotations

from typing import Annotated

import msgspec

from events.ids import file_id_bytes
from gateway.api.shapes import (
    Cursor,
    File,
    Limit,
    decode_cursor,
    encode_cursor,
    file_of,
    page_size,
)
from gateway.catalogue import Place, Sort, highlights
from gateway.errors import BadRequest, NotFound
from gateway.routing import Call, get

# Searches are read from the top; nobody pages deeper than this by hand.
_DEEPEST: int = 10_000

AbsolutePath = Annotated[str, msgspec.Meta(pattern="^/")]


class FilesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    node: Annotated[str, msgspec.Meta(description="Files of this node only.")] | None = None
    parent: (
        Annotated[str, msgspec.Meta(pattern="^/", description="Files of exactly this folder.")]
        | None
    ) = None
    below: (
        Annotated[
            str, msgspec.Meta(pattern="^/", description="Files of this folder and all under it.")
        ]
        | None
    ) = None
    deleted: Annotated[bool, msgspec.Meta(description="Also files that are gone.")] = False
    cursor: Cursor | None = None
    limit: Limit = 100


class FilePage(msgspec.Struct, frozen=True, omit_defaults=True):
    files: list[File]
    next: str | None = None


class PathQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, msgspec.Meta(pattern="^/", description="Absolute path on the node.")]
    node: Annotated[str, msgspec.Meta(description="Any node if not given.")] | None = None


class SearchQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    q: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=255,
            description="Part of a name, or a glob over the whole name if it has `*` or `?`.",
        ),
    ]
    node: Annotated[str, msgspec.Meta(description="Files of this node only.")] | None = None
    label: Annotated[str, msgspec.Meta(description="Files with this effective label.")] | None = (
        None
    )
    sort: Annotated[Sort, msgspec.Meta(description="`relevance` ranks the first 500 matches.")] = (
        "relevance"
    )
    deleted: Annotated[bool, msgspec.Meta(description="Also files that are gone.")] = False
    cursor: Cursor | None = None
    limit: Limit = 50


class Match(msgspec.Struct, frozen=True):
    """A file, and where in its name the text stands: pairs of start and end, in characters."""

    file: File
    highlights: list[tuple[int, int]]


class Matches(msgspec.Struct, frozen=True, omit_defaults=True):
    matches: list[Match]
    next: str | None = None


@get("/api/files", tag="files", problems=(400,))
async def files(call: Call, query: FilesQuery) -> FilePage:
    """Files in order of node, folder and name, page by page.

    A cursor stays good while files come and go, and on every gateway of the log.
    """
    limit = page_size(call, query.limit)
    after: Place | None = None
    if query.cursor is not None:
        after = decode_cursor(query.cursor, Place)
        _check_id(after.file)
    rows = await call.context.views.read(
        lambda view: view.page(
            node=query.node,
            parent=_folder(query.parent),
            below=_folder(query.below),
            after=after,
            limit=limit + 1,
            deleted=query.deleted,
        )
    )
    page = rows[:limit]
    more = None
    if len(rows) > limit:
        last = page[-1]
        more = encode_cursor((last.node, last.parent, last.name, last.id))
    return FilePage([file_of(row) for row in page], more)


def _folder(path: str | None) -> str | None:
    """The folder as the view names it: no slash at the end, but for the root."""
    return None if path is None else path.rstrip("/") or "/"


def _check_id(text: str) -> None:
    try:
        file_id_bytes(text)
    except ValueError:
        raise BadRequest("bad_cursor", "that is no cursor of this list") from None


@get("/api/files/by-path", tag="files", problems=(404,))
async def file_by_path(call: Call, query: PathQuery) -> File:
    """The file at a path of a node; a present one before one that is gone.

    The path is looked up as it stands: nothing on any disk is touched, and `..` means nothing.
    """
    row = await call.context.views.read(lambda view: view.file_at(query.node, query.path))
    if row is None:
        raise NotFound("there is no file at that path")
    answer = file_of(row)
    call.etag = answer.rev
    return answer


@get("/api/files/{file}", tag="files")
async def file(call: Call, file: str) -> File:
    """One file, present or gone."""
    row = await call.context.views.read(lambda view: view.file(file))
    if row is None:
        raise NotFound("there is no such file")
    answer = file_of(row)
    call.etag = answer.rev
    return answer


@get("/api/search", tag="files", problems=(400,))
async def search(call: Call, query: SearchQuery) -> Matches:
    """Find files by name; case does not matter."""
    limit = page_size(call, query.limit)
    skip = 0 if query.cursor is None else decode_cursor(query.cursor, tuple[int])[0]
    if not 0 <= skip <= _DEEPEST:
        raise BadRequest("bad_cursor", "that is no cursor of this list")
    found = await call.context.views.read(
        lambda view: view.find(
            query.q,
            node=query.node,
            label=query.label,
            sort=query.sort,
            skip=skip,
            limit=limit,
            deleted=query.deleted,
        )
    )
    behind = skip + limit
    return Matches(
        [Match(file_of(row), highlights(row.name, query.q)) for row in found.files],
        encode_cursor((behind,)) if found.more and behind <= _DEEPEST else None,
    )
