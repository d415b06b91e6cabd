"""`_design/…/_view/…`: rows of the built-in views, whole or reduced."""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.responses import Response, StreamingResponse

from gateway.couch import design
from gateway.couch.answers import CouchError, Json, answer, bad, encode, json_of
from gateway.couch.mango.selector import compare, rank, sort_key
from gateway.couch.parameters import NOT_GIVEN, Parameters
from projectors.documents import changes, couch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from starlette.requests import Request

    from gateway.couch.callers import Callers
    from gateway.couch.needs import Needs
    from projectors.documents.couch import Audience
    from projectors.documents.reader import Reader

_PAGE: Final = 1000
_MOST_KEYS: Final = 1000
# A blob sorts behind every text in SQLite, as an array or object does in CouchDB.
_TOP: Final = b"\xff"


class Asked(NamedTuple):
    """The parameters of a view."""

    ranges: list[tuple[Any, Any]]
    inclusive: bool
    descending: bool
    limit: int | None
    skip: int
    reduce: bool
    level: int | None
    bodies: bool
    sequence: bool


class Row(NamedTuple):
    """One row: where it came from, its key and value, and the document if it is asked for."""

    id: str
    key: Json
    value: Json
    doc: bytes | None = None


class Views:
    """The endpoints."""

    def __init__(self, context: Needs, callers: Callers) -> None:
        self._context = context
        self._callers = callers

    async def describe(self, request: Request) -> Response:
        await self._callers.database(request)
        return answer(design.document(request.path_params["group"]))

    async def respond(self, request: Request) -> Response:
        database, _ = await self._callers.database(request)
        view = design.find(request.path_params["group"], request.path_params["view"])
        body = await json_of(request) if request.method == "POST" else {}
        asked = _asked(Parameters.of(request, body))
        audience = database.audience
        if asked.reduce:
            rows = await self._context.views.read(
                lambda reader: _reduced(reader, audience, view, asked)
            )
            return answer({"rows": rows})
        if view.columns:
            return StreamingResponse(
                self._files(audience, view, asked), media_type="application/json"
            )
        content = await self._context.views.read(
            lambda reader: _emitted_answer(reader, audience, view, asked)
        )
        return answer(content)

    async def _files(
        self, audience: Audience, view: design.View, asked: Asked
    ) -> AsyncIterator[bytes]:
        yield await self._context.views.read(lambda reader: _opening(reader, audience, view, asked))
        left, skip, separator = asked.limit, asked.skip, b""
        for bounds in asked.ranges:
            after: tuple[Any, ...] | None = None
            while left != 0:
                most = _PAGE if left is None else min(_PAGE, left)
                rows, after = await self._context.views.read(
                    lambda reader, at=after, most=most + skip, bounds=bounds: _file_rows(  # type: ignore[misc]  # bound now, for the thread
                        reader, audience, view, asked, bounds, at, most
                    )
                )
                given = rows[skip:]
                skip = max(0, skip - len(rows))
                if given:
                    yield separator + b",\n".join(map(_rendered, given))
                    separator = b",\n"
                left = None if left is None else left - len(given)
                if after is None:
                    break
        yield b"\n]}\n"


def _asked(given: Parameters) -> Asked:
    descending = given.flag("descending")
    key, keys = given.json("key"), given.json("keys")
    start, end = given.json("startkey", "start_key"), given.json("endkey", "end_key")
    inclusive = given.flag("inclusive_end", default=True)
    if keys is not NOT_GIVEN:
        if not isinstance(keys, list) or len(keys) > _MOST_KEYS:
            raise bad(f"keys must be an array of at most {_MOST_KEYS}")
        ranges, inclusive = [(each, each) for each in keys], True
    elif key is not NOT_GIVEN:
        ranges, inclusive = [(key, key)], True
    else:
        ranges = [(end, start) if descending else (start, end)]
    group = given.flag("group")
    level = given.number("group_level")
    reduce = given.flag("reduce", default=True)
    bodies = given.flag("include_docs")
    if bodies and reduce and given.has("reduce"):
        raise CouchError(400, "query_parse_error", "`include_docs` is invalid for reduce")
    if (group or level is not None) and not reduce:
        raise CouchError(400, "query_parse_error", "`group` needs a reduce")
    return Asked(
        ranges,
        inclusive,
        descending,
        given.number("limit"),
        given.number("skip", 0) or 0,
        reduce and not bodies,
        None if group else level or 0,
        bodies,
        given.flag("update_seq"),
    )


def _rendered(row: Row) -> bytes:
    doc = b',"doc":' + row.doc if row.doc is not None else b""
    return b'{"id":%b,"key":%b,"value":%b%b}' % (
        encode(row.id),
        encode(row.key),
        encode(row.value),
        doc,
    )


def _opening(reader: Reader, audience: Audience, view: design.View, asked: Asked) -> bytes:
    live = "SELECT count(*) FROM files f WHERE f.deleted IS NULL"
    total = couch.rows(reader, live)[0][0] if view.columns else 0
    return _head(reader, total, asked)


def _head(reader: Reader, total: int, asked: Asked) -> bytes:
    fields: dict[str, Any] = {"total_rows": total, "offset": min(asked.skip, total)}
    if asked.sequence:
        here = couch.head(reader)
        fields["update_seq"] = changes.token(changes.everything(here), here.log)
    return encode(fields)[:-1] + b',"rows":[\n'


# Views over files


def _where(view: design.View, bounds: tuple[Any, Any], asked: Asked) -> tuple[str, list[Any]]:
    """SQL for the rows of the view whose key lies between two bounds."""
    low, high = bounds
    # What may be left out is the end that is reached last.
    leave_low = asked.descending and not asked.inclusive
    leave_high = not asked.descending and not asked.inclusive
    conditions, bindings = ["f.deleted IS NULL"], []
    if low is not NOT_GIVEN:
        text, values = _bound(view, low, ">" if leave_low else ">=")
        conditions.append(text)
        bindings += values
    if high is not NOT_GIVEN:
        text, values = _bound(view, high, "<" if leave_high else "<=")
        conditions.append(text)
        bindings += values
    return " AND ".join(conditions), bindings


def _bound(view: design.View, key: Json, sign: str) -> tuple[str, list[Any]]:
    """A comparison of the key's columns. Keys are arrays of texts; what is no array sorts before
    them, an object behind. A shorter array sorts before those that it begins."""
    if not isinstance(key, list):
        below = (rank(key) < rank([])) == sign.startswith(">")
        return ("1" if below else "0"), []
    width = len(view.columns)
    parts: list[Any] = []
    for part in key[:width]:
        if isinstance(part, str):
            parts.append(part)
            continue
        # Everything with these first parts is on one side of it.
        parts.append(_TOP if rank(part) > rank("") else -1)
        key = key[: len(parts)]
        break
    if len(key) > width:
        # Longer than any key: behind those that are equal so far.
        sign = {">=": ">", "<": "<="}.get(sign, sign)
    elif len(parts) < width:
        parts += [-1] * (width - len(parts))
    marks = ", ".join("?" * width)
    return f"({', '.join(view.columns)}) {sign} ({marks})", parts


def _file_rows(
    reader: Reader,
    audience: Audience,
    view: design.View,
    asked: Asked,
    bounds: tuple[Any, Any],
    after: tuple[Any, ...] | None,
    most: int,
) -> tuple[list[Row], tuple[Any, ...] | None]:
    """A page of rows behind a place, and the place behind them; None when that was all."""
    if "file" not in audience.types:
        return [], None
    where, bindings = _where(view, bounds, asked)
    names = ", ".join((*view.columns, "f.uuid"))
    direction = "DESC" if asked.descending else "ASC"
    if after is not None:
        where += (
            f" AND ({names}) {'<' if asked.descending else '>'} ({', '.join('?' * len(after))})"
        )
        bindings += after
    order = ", ".join(f"{column} {direction}" for column in (*view.columns, "f.uuid"))
    width = len(view.columns)
    rows: list[Row] = []
    place: tuple[Any, ...] | None = None
    for found in couch.rows(
        reader,
        f"SELECT {couch.FILE_COLUMNS}, {', '.join(view.columns)} FROM {couch.FILE_TABLES} "
        f"WHERE {where} ORDER BY {order} LIMIT ?",
        (*bindings, most),
    ):
        entry = couch.file_entry(found[:-width])
        key = list(found[-width:])
        rows.append(Row(entry.doc, key, found[6], entry.body if asked.bodies else None))
        place = (*key, found[1])
    return rows, place if len(rows) == most else None


def _reduced(
    reader: Reader, audience: Audience, view: design.View, asked: Asked
) -> list[dict[str, Any]]:
    if not view.columns:
        groups = _reduce_rows(_emitted(reader, audience, view, asked), view, asked)
    elif "file" in audience.types:
        groups = _reduce_files(reader, view, asked)
    else:
        groups = []
    end = None if asked.limit is None else asked.skip + asked.limit
    return list(islice(groups, asked.skip, end))


def _reduce_files(reader: Reader, view: design.View, asked: Asked) -> list[dict[str, Any]]:
    level = len(view.columns) if asked.level is None else min(asked.level, len(view.columns))
    columns = view.columns[:level]
    found: list[dict[str, Any]] = []
    size = "cast(f.size AS REAL)"
    direction = " DESC" if asked.descending else ""
    for bounds in asked.ranges:
        where, bindings = _where(view, bounds, asked)
        grouped = ""
        if columns:
            order = ", ".join(column + direction for column in columns)
            grouped = f" GROUP BY {', '.join(columns)} ORDER BY {order}"
        for row in couch.rows(
            reader,
            f"SELECT {''.join(column + ', ' for column in columns)}count(*), sum({size}), "
            f"min(f.size), max(f.size), sum({size} * {size}) FROM {couch.FILE_TABLES} "
            f"WHERE {where}{grouped}",
            bindings,
        ):
            key = list(row[:level]) if columns else None
            count, total, lowest, highest, squares = row[level:]
            if count:
                stats = (total, count, lowest, highest, squares)
                found.append({"key": key, "value": _stats(*stats)})
    return found


def _stats(total: float, count: int, lowest: int, highest: int, squares: float) -> dict[str, Any]:
    whole = int(total) if abs(total) < 2**53 else total
    return {"sum": whole, "count": count, "min": lowest, "max": highest, "sumsqr": squares}


# Views over other documents


def _emitted(reader: Reader, audience: Audience, view: design.View, asked: Asked) -> list[Row]:
    """All rows between the bounds, in their order."""
    assert view.emit is not None
    rows: list[Row] = []
    for type_ in sorted(view.types & audience.types):
        for found in couch.each(
            reader,
            f"SELECT {couch.DOCUMENT_COLUMNS} FROM documents "
            "WHERE type = ? AND body IS NOT NULL ORDER BY doc",
            (type_,),
        ):
            entry = couch.document_entry(found, audience)
            body = entry.body if asked.bodies else None
            rows += [Row(entry.doc, key, value, body) for key, value in view.emit(entry.document())]
    rows.sort(key=lambda row: sort_key([row.key, row.id]), reverse=asked.descending)
    return [row for bounds in asked.ranges for row in rows if _within(row.key, bounds, asked)]


def _within(key: Json, bounds: tuple[Any, Any], asked: Asked) -> bool:
    low, high = bounds
    if low is not NOT_GIVEN:
        side = compare(key, low)
        if side < 0 or (side == 0 and asked.descending and not asked.inclusive):
            return False
    if high is not NOT_GIVEN:
        side = compare(key, high)
        if side > 0 or (side == 0 and not asked.descending and not asked.inclusive):
            return False
    return True


def _emitted_answer(reader: Reader, audience: Audience, view: design.View, asked: Asked) -> bytes:
    rows = _emitted(reader, audience, view, asked)
    end = None if asked.limit is None else asked.skip + asked.limit
    opening = _head(reader, len(rows), asked)
    return opening + b",\n".join(map(_rendered, rows[asked.skip : end])) + b"\n]}"


def _reduce_rows(rows: list[Row], view: design.View, asked: Asked) -> list[dict[str, Any]]:
    def cut(row: Row) -> Json:
        if asked.level is None or not isinstance(row.key, list):
            return row.key
        return row.key[: asked.level] if asked.level else None

    return [
        {"key": key, "value": _value(list(group), view)} for key, group in groupby(rows, key=cut)
    ]


def _value(rows: Iterable[Row], view: design.View) -> Json:
    values = [row.value or 0 for row in rows]
    if view.reduce == "_count":
        return len(values)
    return _stats(
        float(sum(values)),
        len(values),
        min(values),
        max(values),
        float(sum(value * value for value in values)),
    )
