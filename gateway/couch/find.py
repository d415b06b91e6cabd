"""`_find`, `_explain` and `_index`: Mango over the view.

SQL finds the candidates, in the order that is wanted; each is looked at again. Work is done in
slices, so that no query holds a thread for long, and an answer without a sort is streamed.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from starlette.responses import Response, StreamingResponse

from gateway.couch.answers import CouchError, Json, answer, bad, encode, forbidden, json_of
from gateway.couch.mango import selector, sql
from gateway.couch.mango.sql import FALSE, Sql
from projectors.documents import couch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.requests import Request

    from gateway.couch.callers import Callers
    from gateway.couch.needs import Needs
    from projectors.documents.couch import Audience, Entry
    from projectors.documents.reader import Reader

_DEFAULT: Final = 25
# Answers in an order of their own are held in memory until they are whole.
_MOST_SORTED: Final = 10_000
_SLICE_S: Final = 0.1
_SLICE: Final = 1000

# How files are put in order by a field. Every file has each of these fields.
_ORDERS: Final = {
    ("_id",): "f.uuid",
    ("file_id",): "f.uuid",
    ("inode",): "f.inode",
    ("name",): "f.name",
    ("source", "node_id"): "o.node",
    ("source", "export_parent"): "d.path",
    ("source", "export_path"): "iif(d.path = '/', '/', d.path || '/') || f.name",
    ("size",): "f.size",
    ("mtime",): "f.mtime",
    ("mime_type",): "m.mime",
    ("status",): "f.deleted IS NOT NULL",
    ("type",): "1",
}

INDEXES: Final = {
    "uuid": ["_id"],
    "place": ["source.export_parent", "name"],
    "inode": ["inode"],
    "names": ["name"],
    "id": ["_id"],
    "type": ["type"],
}


class Query(NamedTuple):
    """A decoded `_find`."""

    tree: selector.Tree
    limit: int
    skip: int
    fields: list[selector.Path] | None
    sort: list[selector.Path]
    descending: bool
    bookmark: dict[str, Any]
    statistics: bool

    @property
    def files(self) -> Sql:
        return sql.for_files(self.tree)

    @property
    def documents(self) -> Sql:
        return sql.for_documents(self.tree)

    @property
    def by(self) -> str | None:
        """The index that finds the candidates: among the files, which are most documents."""
        return self.documents.by if self.files == FALSE else self.files.by


class Slice(NamedTuple):
    """Rendered matches, the id behind which to go on, whether that was all."""

    documents: list[bytes]
    after: str
    done: bool
    examined: int


class Find:
    """The endpoints."""

    def __init__(self, context: Needs, callers: Callers) -> None:
        self._context = context
        self._callers = callers

    async def find(self, request: Request) -> Response:
        database, _ = await self._callers.database(request)
        query = _query(await json_of(request))
        if query.sort and query.sort != [("_id",)]:
            return await self._sorted(query, database.audience)
        return StreamingResponse(
            self._streamed(query, database.audience), media_type="application/json"
        )

    async def _streamed(self, query: Query, audience: Audience) -> AsyncIterator[bytes]:
        started = time.monotonic()
        after = query.bookmark.get("after", "")
        skip = 0 if after else query.skip
        left, separator, examined, returned = query.limit, b"", 0, 0
        yield b'{"docs":[\n'
        done = False
        while left and not done:
            piece = await self._context.views.read(
                lambda view, at=after, most=skip + left: _slice(view, query, audience, at, most)  # type: ignore[misc]  # bound now, for the thread
            )
            after, done = piece.after or after, piece.done
            examined += piece.examined
            given = piece.documents[skip:]
            skip = max(0, skip - len(piece.documents))
            if given:
                yield separator + b",\n".join(given)
                separator = b",\n"
            left -= len(given)
            returned += len(given)
        yield b"\n]," + _ending(query, {"after": after}, examined, returned, started)

    async def _sorted(self, query: Query, audience: Audience) -> Response:
        started = time.monotonic()
        skip = int(query.bookmark.get("skip", query.skip))
        wanted = skip + query.limit
        if wanted > _MOST_SORTED:
            raise bad(f"with a sort, skip and limit together are at most {_MOST_SORTED}")
        found, examined = await self._context.views.read(
            lambda view: _ordered(view, query, audience, wanted)
        )
        given = found[skip:wanted]
        docs = b",\n".join(_projected(entry, query.fields) for entry in given)
        bookmark = {"skip": skip + len(given)}
        ending = _ending(query, bookmark, examined, len(given), started)
        return answer(b'{"docs":[\n' + docs + b"\n]," + ending)

    async def explain(self, request: Request) -> Response:
        database, _ = await self._callers.database(request)
        body = await json_of(request)
        query = _query(body)
        return answer(
            {
                "dbname": database.name,
                "index": _index(query.by),
                "selector": body["selector"],
                "opts": {
                    "use_index": [],
                    "bookmark": body.get("bookmark") or "nil",
                    "limit": query.limit,
                    "skip": query.skip,
                    "sort": body.get("sort") or {},
                    "fields": body.get("fields") or [],
                    "conflicts": False,
                },
                "limit": query.limit,
                "skip": query.skip,
                "fields": body.get("fields") or "all_fields",
                "covering": False,
            }
        )

    async def indexes(self, request: Request) -> Response:
        await self._callers.database(request)
        listed = [_index(None), *(_index(name) for name in INDEXES if name not in ("uuid", "id"))]
        return answer({"total_rows": len(listed), "indexes": listed})

    async def make_index(self, request: Request) -> Response:
        """An index that the view has anyway exists; no other can be made."""
        await self._callers.database(request)
        body = await json_of(request)
        index = body.get("index")
        fields = index.get("fields") if isinstance(index, dict) else None
        if not isinstance(fields, list) or not fields:
            raise bad("index.fields must be an array")
        names = [next(iter(each), "") if isinstance(each, dict) else each for each in fields]
        for name, known in INDEXES.items():
            if known[: len(names)] == names:
                return answer({"result": "exists", "id": f"_design/{name}", "name": name})
        raise forbidden("the indexes are those of the view; GET _index lists them")

    async def drop_index(self, request: Request) -> Response:
        await self._callers.database(request)
        raise forbidden("the indexes are those of the view")


def _index(name: str | None) -> dict[str, Any]:
    if name is None or name in ("uuid", "id"):
        fields: list[dict[str, str]] = [{"_id": "asc"}]
        return {"ddoc": None, "name": "_all_docs", "type": "special", "def": {"fields": fields}}
    fields = [{field: "asc"} for field in INDEXES[name]]
    return {
        "ddoc": f"_design/{name}",
        "name": name,
        "type": "json",
        "partitioned": False,
        "def": {"fields": fields},
    }


def _query(body: dict[str, Any]) -> Query:
    if "selector" not in body:
        raise CouchError(400, "missing_required_key", "Missing required key: selector")
    paths, descending = _sort(body.get("sort") or [])
    fields = body.get("fields") or None
    if fields is not None and not (
        isinstance(fields, list) and all(isinstance(each, str) for each in fields)
    ):
        raise CouchError(400, "invalid_fields", "fields must be an array of names")
    return Query(
        selector.parse(body["selector"]),
        _count(body, "limit", _DEFAULT),
        _count(body, "skip", 0),
        None if fields is None else [selector.split(each) for each in fields],
        paths,
        descending,
        _bookmark(body.get("bookmark")),
        bool(body.get("execution_stats")),
    )


def _count(body: dict[str, Any], name: str, default: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise CouchError(400, f"invalid_{name}", f"{name} must be an integer of 0 or more")
    return value


def _sort(given: Json) -> tuple[list[selector.Path], bool]:
    if not isinstance(given, list):
        raise CouchError(400, "invalid_sort_json", "sort must be an array")
    paths, directions = [], set()
    for each in given:
        pair = {each: "asc"} if isinstance(each, str) else each
        if not isinstance(pair, dict) or len(pair) != 1:
            raise CouchError(400, "invalid_sort_field", "a sort field is a name or {name: order}")
        ((name, order),) = pair.items()
        if order not in ("asc", "desc"):
            raise CouchError(400, "invalid_sort_dir", "the order is asc or desc")
        paths.append(selector.split(name))
        directions.add(order)
    if len(directions) > 1:
        raise CouchError(400, "unsupported_mixed_sort", "Sorts must be all asc or all desc.")
    return paths, directions == {"desc"}


def _bookmark(given: Json) -> dict[str, Any]:
    if given in (None, "", "nil"):
        return {}
    try:
        decoded = msgspec.json.decode(base64.urlsafe_b64decode(given), type=dict[str, str | int])
    except (TypeError, ValueError, binascii.Error, msgspec.DecodeError):
        raise CouchError(400, "invalid_bookmark", f"Invalid bookmark value: {given!r}") from None
    after, skip = decoded.get("after", ""), decoded.get("skip", 0)
    if not isinstance(after, str) or not isinstance(skip, int) or not 0 <= skip < 2**53:
        raise CouchError(400, "invalid_bookmark", f"Invalid bookmark value: {given!r}")
    return decoded


def _ending(
    query: Query, bookmark: dict[str, Any], examined: int, returned: int, started: float
) -> bytes:
    ending: dict[str, Any] = {"bookmark": "nil"}
    if any(bookmark.values()):
        ending["bookmark"] = base64.urlsafe_b64encode(encode(bookmark)).decode()
    if not query.by:
        ending["warning"] = "No matching index found; every document was looked at."
    if query.statistics:
        ending["execution_stats"] = {
            "total_keys_examined": 0,
            "total_docs_examined": examined,
            "total_quorum_docs_examined": 0,
            "results_returned": returned,
            "execution_time_ms": round((time.monotonic() - started) * 1000, 3),
        }
    return encode(ending)[1:] + b"\n"


# In order of the ids


def _slice(view: Reader, query: Query, audience: Audience, after: str, most: int) -> Slice:
    """Matches behind an id, as many as a short while allows."""
    deadline = time.monotonic() + _SLICE_S
    found: list[bytes] = []
    examined, last = 0, after
    for entry in _candidates(view, query, audience, after):
        examined += 1
        last = entry.doc
        if selector.matches(query.tree, entry.document()):
            found.append(_projected(entry, query.fields))
            if len(found) >= min(most, _SLICE):
                return Slice(found, last, False, examined)
        if examined % 64 == 0 and time.monotonic() > deadline:
            return Slice(found, last, False, examined)
    return Slice(found, last, True, examined)


def _candidates(view: Reader, query: Query, audience: Audience, after: str) -> Iterator[Entry]:
    """What SQL lets through, in order of the ids, behind one."""
    down = query.descending
    order = "DESC" if down else "ASC"
    steps = [_documents_before, _files, _documents_behind]
    for step in reversed(steps) if down else steps:
        yield from step(view, query, audience, after, order)


def _documents_before(
    view: Reader, query: Query, audience: Audience, after: str, order: str
) -> Iterator[Entry]:
    return _documents(view, query, audience, after, order, ("doc < ?", couch.FILE_PREFIX))


def _documents_behind(
    view: Reader, query: Query, audience: Audience, after: str, order: str
) -> Iterator[Entry]:
    return _documents(view, query, audience, after, order, ("doc > ?", couch.FILE_PREFIX))


def _documents(
    view: Reader,
    query: Query,
    audience: Audience,
    after: str,
    order: str,
    part: tuple[str, str],
) -> Iterator[Entry]:
    where = query.documents
    if where == FALSE:
        return
    bound, bindings = part[0], [part[1]]
    if after:
        bound += f" AND doc {'<' if order == 'DESC' else '>'} ?"
        bindings.append(after)
    for row in couch.each(
        view,
        f"SELECT {couch.DOCUMENT_COLUMNS} FROM documents WHERE {bound} AND body IS NOT NULL "
        f"AND +type IN (SELECT value FROM json_each(?)) AND {where.text} ORDER BY doc {order}",
        (*bindings, audience.listed, *where.bindings),
    ):
        yield couch.document_entry(row, audience)


def _files(
    view: Reader, query: Query, audience: Audience, after: str, order: str
) -> Iterator[Entry]:
    where = query.files
    if where == FALSE or "file" not in audience.types:
        return
    bound, keys = "1", tuple[bytes, ...]()
    if after:
        span = couch.Span(None, after) if order == "DESC" else couch.Span(after + "\0", None)
        bound, keys = couch.uuid_span(span)
    # Where an index finds few rows, they are put in order; otherwise the order is walked.
    column = "+f.uuid" if where.by not in (None, "uuid") else "f.uuid"
    for row in couch.each(
        view,
        f"SELECT {couch.FILE_COLUMNS} FROM {couch.FILE_TABLES} "
        f"WHERE {bound.replace('f.uuid', column)} AND {where.text} ORDER BY {column} {order}",
        (*keys, *where.bindings),
    ):
        yield couch.file_entry(row)


# In another order


def _ordered(
    view: Reader, query: Query, audience: Audience, wanted: int
) -> tuple[list[Entry], int]:
    """The first matches in the order that is asked for. What lacks a field of it is left out, as an
    index of CouchDB would not have it."""
    examined = 0
    files: list[Entry] = []
    for entry in _files_ordered(view, query, audience):
        if len(files) >= wanted:
            break
        examined += 1
        if selector.matches(query.tree, entry.document()):
            files.append(entry)
    key = _key(query.sort)
    others = []
    for part in (_documents_before, _documents_behind):
        for entry in part(view, query, audience, "", "ASC"):
            examined += 1
            document = entry.document()
            if all(selector.has(document, path) for path in query.sort) and selector.matches(
                query.tree, document
            ):
                others.append(entry)
    pick = heapq.nlargest if query.descending else heapq.nsmallest
    return pick(wanted, [*files, *others], key=key), examined


def _key(paths: list[selector.Path]) -> Json:
    def key(entry: Entry) -> Json:
        document = entry.document()
        values = [selector.field(document, path) for path in paths]
        return selector.sort_key([*values, entry.doc])

    return key


def _files_ordered(view: Reader, query: Query, audience: Audience) -> Iterator[Entry]:
    where = query.files
    if where == FALSE or "file" not in audience.types:
        return
    if any(path not in _ORDERS and path != ("deleted_at",) for path in query.sort):
        return
    direction = "DESC" if query.descending else "ASC"
    columns = [_ORDERS.get(path, "f.deleted") for path in query.sort]
    removed = " AND f.deleted IS NOT NULL" if ("deleted_at",) in query.sort else ""
    order = ", ".join(f"{column} {direction}" for column in [*columns, "f.uuid"])
    for row in couch.each(
        view,
        f"SELECT {couch.FILE_COLUMNS} FROM {couch.FILE_TABLES} "
        f"WHERE {where.text}{removed} ORDER BY {order}",
        where.bindings,
    ):
        yield couch.file_entry(row)


def _projected(entry: Entry, fields: list[selector.Path] | None) -> bytes:
    """The document, or the fields of it that are asked for, each at its place."""
    if fields is None:
        return entry.body
    document = entry.document()
    projected: dict[str, Any] = {}
    for path in fields:
        if not path or not selector.has(document, path):
            continue
        target = projected
        for name in path[:-1]:
            inner = target.setdefault(name, {})
            if not isinstance(inner, dict):
                break
            target = inner
        else:
            target[path[-1]] = selector.field(document, path)
    return encode(projected)
