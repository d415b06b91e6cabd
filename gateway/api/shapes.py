"""What several endpoints share: cursors, the answer to a write, documents as typed answers."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from events.ids import file_doc
from events.moments import moment
from gateway.errors import BadRequest, NotFound
from projectors.documents import revisions

if TYPE_CHECKING:
    from gateway.commands import Committed
    from gateway.routing import Call
    from projectors.documents.reader import FileRow

T = TypeVar("T")

Limit = Annotated[int, msgspec.Meta(ge=1, description="How many at the most.")]
Cursor = Annotated[str, msgspec.Meta(description="`next` of the page before.")]


class File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file. `path`, `parent` and `name` are path text; `mtime_ns` is exact, as text because
    JavaScript's numbers are not."""

    id: str
    rev: str
    node: str
    path: str
    parent: str
    name: str
    size: int
    mtime: str
    mtime_ns: str
    mime_type: str
    inode: str
    status: str
    deleted_at: str | None = None


def file_of(row: FileRow) -> File:
    """A row of the view as an answer."""
    return File(
        id=row.id,
        rev=revisions.revision(file_doc(row.id), row.generation),
        node=row.node,
        path=row.path,
        parent=row.parent,
        name=row.name,
        size=row.size,
        mtime=moment(row.mtime // 1_000_000),
        mtime_ns=str(row.mtime),
        mime_type=row.mime,
        inode=str(row.inode),
        status="active" if row.deleted_at is None else "deleted",
        deleted_at=None if row.deleted_at is None else moment(row.deleted_at),
    )


class Written(msgspec.Struct, frozen=True):
    """A change that is stored and visible: where its event stands, and the document's revision
    (null once it is removed)."""

    stream: str
    sequence: int
    id: str
    rev: str | None


async def document(call: Call, doc: str, what: str) -> dict[str, Any]:
    """A document of the view; raises NotFound."""
    body = await call.context.views.read(lambda view: view.document(doc))
    if body is None:
        raise NotFound(f"there is no {what}")
    return body


async def written(call: Call, committed: Committed, doc: str) -> Written:
    """The answer to a write."""
    body = await call.context.views.read(lambda view: view.document(doc))
    rev = None if body is None else str(body["_rev"])
    call.etag = rev
    return Written(committed.stream, committed.sequence, doc, rev)


def plain(body: dict[str, Any]) -> dict[str, Any]:
    """A document's body with `rev` for `_rev`, for conversion into a typed answer."""
    return {**{key: each for key, each in body.items() if key[0] != "_"}, "rev": body["_rev"]}


def generation(body: dict[str, Any]) -> int:
    return int(str(body["_rev"]).partition("-")[0])


def encode_cursor(place: tuple[str | int, ...]) -> str:
    """A place in a list as text that only we read."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def decode_cursor(text: str, kind: type[T]) -> T:
    """The place in a cursor that we gave out; raises BadRequest for any other text."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(raw, type=kind)
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        raise BadRequest("bad_cursor", "that is no cursor of this list") from None


def page_size(call: Call, limit: int) -> int:
    """The page size that was asked for; raises BadRequest above the configured limit."""
    most = call.context.config.max_page
    if limit > most:
        raise BadRequest("bad_query", f"limit is {most} at the most")
    return limit
