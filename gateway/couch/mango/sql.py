"""Selectors as conditions on the view: at least everything passes that matches.

What cannot be said in SQL exactly is said more loosely or not at all; `selector.matches` looks at
every candidate again. A condition of None means that no row can match.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from events.moments import unix_ms
from events.paths import split
from gateway.couch.databases import GUARDED
from gateway.couch.mango.selector import All, Path, Test, Tree, matches, rank
from projectors.documents import couch
from projectors.documents.changes import Condition

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.couch.answers import Json


class Sql(NamedTuple):
    """A condition with its bindings; the name of the index that finds its rows, if one does."""

    text: str
    bindings: tuple[Any, ...] = ()
    by: str | None = None


TRUE: Final = Sql("1")
FALSE: Final = Sql("0")
# SQLite holds these integers; a larger one is compared in Python only.
_EXACT: Final = 2**53
_MOST_BINDINGS: Final = 20_000


def condition(tree: Tree) -> Condition:
    """The candidates for a selector in both tables."""
    files, documents = for_files(tree), for_documents(tree)
    return Condition(
        None if files == FALSE else (files.text, files.bindings),
        None if documents == FALSE else (documents.text, documents.bindings),
    )


def for_files(tree: Tree) -> Sql:
    """A condition on FILE_TABLES."""
    return _limited(_combined(tree, _file_test))


def for_documents(tree: Tree) -> Sql:
    """A condition on `documents`."""
    return _limited(_combined(tree, _document_test))


def _limited(found: Sql) -> Sql:
    return found if len(found.bindings) <= _MOST_BINDINGS else TRUE


def _combined(tree: Tree, test: Callable[[Test], Sql]) -> Sql:
    if isinstance(tree, Test):
        return test(tree)
    parts = [_combined(each, test) for each in tree.of]
    if isinstance(tree, All):
        if FALSE in parts:
            return FALSE
        parts = [each for each in parts if each != TRUE]
        # One index serves: the first that a part names.
        index = next((each.by for each in parts if each.by), None)
        return _joined(parts, " AND ", TRUE, index)
    if TRUE in parts:
        return TRUE
    parts = [each for each in parts if each != FALSE]
    served = parts and all(each.by for each in parts)
    return _joined(parts, " OR ", FALSE, parts[0].by if served else None)


def _joined(parts: list[Sql], word: str, empty: Sql, index: str | None) -> Sql:
    if not parts:
        return empty
    if len(parts) == 1:
        return parts[0]
    text = "(" + word.join(each.text for each in parts) + ")"
    return Sql(text, tuple(value for each in parts for value in each.bindings), index)


# Columns


def _text(column: str, index: str | None = None) -> Callable[[Test], Sql]:
    """Tests on a column of text that is never null."""

    def test(each: Test) -> Sql:
        operator, argument = each.operator, each.argument
        if each.negated:
            return TRUE
        if operator in _COMPARED:
            if not isinstance(argument, str):
                return _by_rank(4, operator, argument)
            if not _storable(argument):
                return TRUE
            return Sql(
                f"{column} {_COMPARED[operator]} ?",
                (argument,),
                index if operator == "$eq" else None,
            )
        if operator == "$in":
            texts = [value for value in argument if isinstance(value, str) and _storable(value)]
            if not texts:
                return FALSE
            return Sql(f"{column} IN (SELECT value FROM json_each(?))", (_json(texts),), index)
        if operator == "$beginsWith":
            return _begins(column, argument)
        return TRUE

    return test


def _number(column: str, index: str | None = None) -> Callable[[Test], Sql]:
    """Tests on a column of integers that is never null."""

    def test(each: Test) -> Sql:
        operator, argument = each.operator, each.argument
        if each.negated:
            return TRUE
        if operator in _COMPARED:
            if rank(argument) != 3:
                return _by_rank(3, operator, argument)
            if abs(argument) > _EXACT:
                return TRUE
            return Sql(
                f"{column} {_COMPARED[operator]} ?",
                (argument,),
                index if operator == "$eq" else None,
            )
        if operator == "$in":
            numbers = [value for value in argument if rank(value) == 3]
            if any(abs(value) > _EXACT for value in numbers):
                return TRUE
            if not numbers:
                return FALSE
            return Sql(f"{column} IN (SELECT value FROM json_each(?))", (_json(numbers),), index)
        return TRUE

    return test


_COMPARED: Final = {
    "$eq": "=",
    "$ne": "<>",
    "$lt": "<",
    "$lte": "<=",
    "$gt": ">",
    "$gte": ">=",
}


def _by_rank(own: int, operator: str, argument: Json) -> Sql:
    """A comparison with a value of another type is decided by the types alone."""
    above = own > rank(argument)
    holds = {"$eq": False, "$ne": True, "$lt": not above, "$lte": not above}.get(operator, above)
    return TRUE if holds else FALSE


def _begins(column: str, prefix: str) -> Sql:
    if not prefix or not _storable(prefix):
        return TRUE
    end = _behind(prefix)
    if end is None:
        return Sql(f"{column} >= ?", (prefix,))
    return Sql(f"({column} >= ? AND {column} < ?)", (prefix, end))


def _behind(prefix: str) -> str | None:
    """The lowest text above all that begin with the prefix."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    if 0xD800 <= following <= 0xDFFF:
        following = 0xE000
    return kept[:-1] + chr(following)


def _storable(text: str) -> bool:
    # SQLite's JSON and C text end at a NUL.
    return "\0" not in text


def _json(values: list[Any]) -> str:
    return msgspec.json.encode(values).decode()


# Files


def _file_test(test: Test) -> Sql:
    known = _FILE_FIELDS.get(test.path)
    if test.operator == "$exists" and test.path in _SURE:
        return TRUE if test.argument else FALSE
    if known is not None:
        return known(test)
    if test.path and test.path[0] not in _FILE_NAMES:
        # Every file has the same fields, so what it has not, none has.
        return TRUE if test.operator == "$exists" and not test.argument else FALSE
    return TRUE


def _id(prefix: str) -> Callable[[Test], Sql]:
    def test(each: Test) -> Sql:
        operator, argument = each.operator, each.argument
        if each.negated:
            return TRUE
        if operator in _COMPARED and not isinstance(argument, str):
            return _by_rank(4, operator, argument)
        if operator in ("$eq", "$in"):
            wanted = [argument] if operator == "$eq" else argument
            texts = [prefix + value for value in wanted if isinstance(value, str)]
            keys = [key for key in map(couch.file_key, texts) if key is not None]
            if not keys:
                return FALSE
            return Sql(f"f.uuid IN ({', '.join('?' * len(keys))})", tuple(keys), "uuid")
        span = _span(operator, argument)
        if span is None:
            return TRUE
        low, high = span
        bounds = couch.Span(
            prefix + low if low is not None else prefix or None,
            None if high is None else prefix + high,
        )
        text, bindings = couch.uuid_span(bounds)
        return FALSE if text == "0" else Sql(f"({text})", bindings)

    return test


def _span(operator: str, argument: str) -> tuple[str | None, str | None] | None:
    """The texts for which a comparison holds: from the first on, below the second."""
    if operator == "$gt":
        return argument + "\0", None
    if operator == "$gte":
        return argument, None
    if operator == "$lt":
        return None, argument
    if operator == "$lte":
        return None, argument + "\0"
    if operator == "$beginsWith" and argument:
        return argument, _behind(argument)
    return None


def _folder(test: Test) -> Sql:
    """The folder of a file: found through the table of folders."""
    found = _text("path")(test)
    if found in (TRUE, FALSE) or test.operator == "$ne":
        return found if found in (TRUE, FALSE) else TRUE
    narrow = test.operator in ("$eq", "$in", "$beginsWith")
    return Sql(
        f"f.folder IN (SELECT id FROM folders WHERE {found.text})",
        found.bindings,
        "place" if narrow else None,
    )


def _path(test: Test) -> Sql:
    argument = test.argument
    if test.negated or not isinstance(argument, str) or not _storable(argument):
        return TRUE
    if test.operator == "$eq":
        if not argument.startswith("/"):
            return FALSE
        parent, name = split(argument)
        return Sql(
            "(f.folder IN (SELECT id FROM folders WHERE path = ?) AND f.name = ?)",
            (parent, name),
            "place",
        )
    if test.operator == "$beginsWith" and argument.startswith("/"):
        parent, name = split(argument)
        below, start = _begins("path", argument), _begins("f.name", name)
        return Sql(
            f"(f.folder IN (SELECT id FROM folders WHERE {below.text}) OR "
            f"(f.folder IN (SELECT id FROM folders WHERE path = ?) AND {start.text}))",
            (*below.bindings, parent, *start.bindings),
            "place",
        )
    return TRUE


def _name(test: Test) -> Sql:
    found = _text("f.name")(test)
    if test.operator == "$eq" and found.bindings and len(test.argument) >= 3:
        # The trigram index finds names that hold the text, whatever its case.
        phrase = '"' + test.argument.replace('"', '""') + '"'
        return Sql(
            f"(f.id IN (SELECT rowid FROM names WHERE names MATCH ?) AND {found.text})",
            (phrase, *found.bindings),
            "names",
        )
    return found


def _status(test: Test) -> Sql:
    active, deleted = (matches(test._replace(path=()), status) for status in ("active", "deleted"))
    if active and deleted:
        return TRUE
    if not active and not deleted:
        return FALSE
    return Sql("f.deleted IS NULL" if active else "f.deleted IS NOT NULL")


def _is_file(test: Test) -> Sql:
    return TRUE if matches(test._replace(path=()), "file") else FALSE


_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_MS: Final = 1_000_000


def _modified(test: Test) -> Sql:
    if test.negated or test.operator not in _COMPARED or not isinstance(test.argument, str):
        return TRUE
    if not _MOMENT.fullmatch(test.argument):
        return TRUE
    try:
        start = unix_ms(test.argument) * _MS
    except ValueError:
        return TRUE
    if abs(start) > 2**62:
        return TRUE
    if test.operator == "$ne":
        return TRUE
    if test.operator in ("$gt", "$gte"):
        return Sql("f.mtime >= ?", (start,))
    if test.operator in ("$lt", "$lte"):
        return Sql("f.mtime < ?", (start + _MS,))
    return Sql("(f.mtime >= ? AND f.mtime < ?)", (start, start + _MS))


def _loose(test: Test) -> Sql:
    return TRUE


def _removed(test: Test) -> Sql:
    """The moment of removal, which only removed files have."""
    if test.operator == "$exists":
        return Sql(f"f.deleted IS {'NOT ' if test.argument else ''}NULL")
    return Sql("f.deleted IS NOT NULL")


_FILE_FIELDS: Final[dict[Path, Callable[[Test], Sql]]] = {
    ("_id",): _id(""),
    ("_rev",): _loose,
    ("type",): _is_file,
    ("file_id",): _id(couch.FILE_PREFIX),
    ("inode",): _number("f.inode", "inode"),
    ("name",): _name,
    ("source",): _loose,
    ("source", "node_id"): _text("o.node"),
    ("source", "export_path"): _path,
    ("source", "export_parent"): _folder,
    ("size",): _number("f.size"),
    ("mtime",): _modified,
    ("mtime_ns",): _loose,
    ("mime_type",): _text("m.mime"),
    ("status",): _status,
    ("deleted_at",): _removed,
}
_FILE_NAMES: Final = frozenset(path[0] for path in _FILE_FIELDS)
# What every file has.
_SURE: Final = frozenset(_FILE_FIELDS) - {("deleted_at",)}


# Other documents


def _document_test(test: Test) -> Sql:
    if test.path == ("_id",):
        return _text("doc", "id")(test) if test.operator != "$exists" else _existing(test)
    if test.path == ("type",):
        return _text("type", "type")(test) if test.operator != "$exists" else _existing(test)
    if not test.path or test.path[0] in ("_id", "_rev", "type", "_deleted") or test.negated:
        return TRUE
    if any('"' in name or "\\" in name or name.isdecimal() for name in test.path):
        return TRUE
    where = "$" + "".join(f'."{name}"' for name in test.path)
    if not _storable(where):
        return TRUE
    argument = test.argument
    found: Sql | None = None
    if test.operator == "$eq" and _plain(argument):
        found = Sql("(body ->> ?) = ?", (where, argument))
    elif test.operator == "$in" and all(map(_plain, argument)):
        found = Sql(
            "(json_type(body, ?) IN ('array', 'object') OR "
            "(body ->> ?) IN (SELECT value FROM json_each(?)))",
            (where, where, _json(argument)),
        )
    if found is None:
        return TRUE
    # What is cut out of a body is there in SQL and not in the document: no condition on those.
    guarded = ", ".join(f"'{type_}'" for type_ in sorted(GUARDED))
    return Sql(f"(type IN ({guarded}) OR {found.text})", found.bindings)


def _existing(test: Test) -> Sql:
    return TRUE if test.argument else FALSE


def _plain(value: Json) -> bool:
    """A value that SQLite compares as Mango does, or more loosely."""
    if isinstance(value, str):
        return _storable(value)
    return rank(value) == 3 and abs(value) <= _EXACT
