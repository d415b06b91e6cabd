"""Selectors: parsed into a small tree, evaluated on a document.

Negations are moved to the leaves while parsing, as CouchDB does. That decides what a missing field
means: no condition on it holds, negated or not, except that it does not exist.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import apsw
import apsw.sqlite_extra

from gateway.couch.answers import CouchError, Json

if TYPE_CHECKING:
    from collections.abc import Callable

Path = tuple[str, ...]

# Deeper or larger selectors are not written by anybody who means well.
_DEEPEST: Final = 40
_LARGEST: Final = 2000
_LONGEST_TEXT: Final = 100_000


class All(NamedTuple):
    """Every one of these."""

    of: tuple[Tree, ...]


class Any_(NamedTuple):
    """At least one of these."""

    of: tuple[Tree, ...]


class Test(NamedTuple):
    """A condition on the value at a path. `negated` turns it around where the field is there."""

    path: Path
    operator: str
    argument: Json
    negated: bool = False


Tree = All | Any_ | Test

_OPPOSITE: Final = {
    "$eq": "$ne",
    "$ne": "$eq",
    "$lt": "$gte",
    "$gte": "$lt",
    "$lte": "$gt",
    "$gt": "$lte",
    "$in": "$nin",
    "$nin": "$in",
}
_TYPES: Final = ("null", "boolean", "number", "string", "array", "object")


def invalid(reason: str) -> CouchError:
    return CouchError(400, "invalid_operator", reason)


# Parsing


def parse(given: Json) -> Tree:
    """The tree of a selector; raises CouchError for what is none."""
    if not isinstance(given, dict):
        raise CouchError(400, "invalid_selector_json", "a selector must be a JSON object")
    budget = [_LARGEST]
    return _parse(given, (), negated=False, depth=0, budget=budget)


def _parse(given: Json, path: Path, *, negated: bool, depth: int, budget: list[int]) -> Tree:
    budget[0] -= 1
    if depth > _DEEPEST or budget[0] < 0:
        raise invalid("the selector is too large")
    if not isinstance(given, dict) or (not given and path):
        return _test(path, "$eq", given, negated=negated)
    parts = []
    for key, value in given.items():
        if key.startswith("$"):
            part = _operator(key, value, path, negated=negated, depth=depth, budget=budget)
        else:
            below = (*path, *split(key))
            part = _parse(value, below, negated=negated, depth=depth + 1, budget=budget)
        parts.append(part)
    if len(parts) == 1:
        return parts[0]
    return Any_(tuple(parts)) if negated else All(tuple(parts))


def split(field: str) -> Path:
    """A field's name as a path: dots go down, `\\\\.` is a dot in a name."""
    parts, current, escaped = [], "", False
    for character in field:
        if escaped:
            current += character if character == "." else "\\" + character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ".":
            parts.append(current)
            current = ""
        else:
            current += character
    return (*parts, current + ("\\" if escaped else ""))


def _operator(
    name: str, argument: Json, path: Path, *, negated: bool, depth: int, budget: list[int]
) -> Tree:
    def inner(each: Json, where: Path, *, turned: bool) -> Tree:
        return _parse(each, where, negated=turned, depth=depth + 1, budget=budget)

    if name in ("$and", "$or", "$nor"):
        if not isinstance(argument, list):
            raise invalid(f"{name} needs an array")
        turned = negated != (name == "$nor")
        parts = tuple(inner(each, path, turned=turned) for each in argument)
        if name == "$or" and not argument:
            # CouchDB: an empty $or matches everything.
            return All(()) if not negated else Any_(())
        both = negated if name == "$or" else not negated
        return All(parts) if both else Any_(parts)
    if name == "$not":
        return inner(argument, path, turned=not negated)
    if name in ("$elemMatch", "$allMatch", "$keyMapMatch"):
        return Test(path, name, inner(argument, (), turned=False), negated)
    return _test(path, name, argument, negated=negated)


def _test(path: Path, name: str, argument: Json, *, negated: bool) -> Tree:
    check = _ARGUMENTS.get(name)
    if check is None:
        raise invalid(f"Invalid operator: {name}")
    check(name, argument)
    if name == "$exists":
        return Test(path, name, argument != negated)
    if negated and name in _OPPOSITE:
        return Test(path, _OPPOSITE[name], argument)
    return Test(path, name, argument, negated)


def _anything(name: str, argument: Json) -> None:
    pass


def _demand(ok: Callable[[Any], bool], what: str) -> Callable[[str, Any], None]:
    def check(name: str, argument: Json) -> None:
        if not ok(argument):
            raise CouchError(400, "bad_arg", f"Bad argument for operator {name}: {what}")

    return check


def _is_int(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pattern(value: Json) -> bool:
    return isinstance(value, str) and _search(value, "") is not None


_ARGUMENTS: Final[dict[str, Callable[[str, Any], None]]] = {
    **dict.fromkeys(("$eq", "$ne", "$lt", "$lte", "$gt", "$gte"), _anything),
    **dict.fromkeys(
        ("$in", "$nin", "$all"), _demand(lambda value: isinstance(value, list), "an array")
    ),
    "$exists": _demand(lambda value: isinstance(value, bool), "true or false"),
    "$type": _demand(lambda value: value in _TYPES, f"one of {', '.join(_TYPES)}"),
    "$size": _demand(lambda value: _is_int(value) and value >= 0, "an integer of 0 or more"),
    "$mod": _demand(
        lambda value: (
            isinstance(value, list)
            and len(value) == 2
            and all(map(_is_int, value))
            and value[0] != 0
        ),
        "[divisor, remainder]",
    ),
    "$beginsWith": _demand(lambda value: isinstance(value, str), "text"),
    "$regex": _demand(_is_pattern, "a regular expression, without look-around or back references"),
}


# Evaluating

_MISSING: Final = object()
# A path that goes through something that has no fields; then not even `$exists: false` holds.
_NO_WAY: Final = object()


def matches(tree: Tree, document: Json) -> bool:
    """Whether the document, or the part of one, is as the selector says."""
    if isinstance(tree, All):
        return all(matches(each, document) for each in tree.of)
    if isinstance(tree, Any_):
        return any(matches(each, document) for each in tree.of)
    value = field(document, tree.path)
    if value is _NO_WAY:
        return False
    if tree.operator == "$exists":
        return (value is not _MISSING) is bool(tree.argument)
    if value is _MISSING:
        return False
    return _OPERATORS[tree.operator](value, tree.argument) != tree.negated


def field(document: Json, path: Path) -> Json:
    """The value at a path; `_MISSING` or `_NO_WAY` if there is none."""
    value = document
    for name in path:
        if isinstance(value, dict):
            if name not in value:
                return _MISSING
            value = value[name]
        elif isinstance(value, list):
            if not (name.isascii() and name.isdecimal() and len(name) < 10):
                return _NO_WAY
            if int(name) >= len(value):
                return _MISSING
            value = value[int(name)]
        else:
            return _NO_WAY
    return value


def has(document: Json, path: Path) -> bool:
    """Whether there is a value at a path."""
    found = field(document, path)
    return found is not _MISSING and found is not _NO_WAY


def rank(value: Json) -> int:
    """The place of a value's type in CouchDB's order."""
    if value is None:
        return 0
    if isinstance(value, bool):
        return 2 if value else 1
    if isinstance(value, int | float):
        return 3
    if isinstance(value, str):
        return 4
    return 5 if isinstance(value, list) else 6


def compare(one: Json, other: Json) -> int:
    """Below 0, 0 or above: CouchDB's order of JSON values. Texts compare by code point."""
    ranks = rank(one), rank(other)
    if ranks[0] != ranks[1]:
        return ranks[0] - ranks[1]
    if ranks[0] < 3:
        return 0
    if ranks[0] < 5:
        return int(one > other) - int(one < other)
    if ranks[0] == 6:
        one, other = _pairs(one), _pairs(other)
    for left, right in zip(one, other, strict=False):
        if (order := compare(left, right)) != 0:
            return order
    return len(one) - len(other)


def _pairs(value: dict[str, Any]) -> list[Any]:
    return [part for pair in sorted(value.items()) for part in pair]


sort_key = functools.cmp_to_key(compare)


def _in(value: Json, arguments: list[Any]) -> bool:
    candidates = [value, *value] if isinstance(value, list) else [value]
    return any(compare(each, one) == 0 for one in arguments for each in candidates)


def _all_of(value: Json, arguments: list[Any]) -> bool:
    if not isinstance(value, list) or not arguments:
        return False
    if len(arguments) == 1 and isinstance(arguments[0], list) and compare(value, arguments[0]) == 0:
        return True
    return all(any(compare(each, one) == 0 for each in value) for one in arguments)


def _remainder(value: int, divisor: int) -> int:
    """With the sign of the value, as Erlang has it."""
    left = abs(value) % abs(divisor)
    return -left if value < 0 else left


class _Engine(threading.local):
    """SQLite's regular expressions: their time grows with the text, not with its powers."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        apsw.sqlite_extra.load(self.connection, "regexp")


_engine = _Engine()


def _search(pattern: str, text: str) -> bool | None:
    """Whether the pattern is found in the text; None if it is no pattern."""
    try:
        query = "SELECT regexp(?, ?)"
        found = _engine.connection.execute(query, (pattern, text[:_LONGEST_TEXT])).fetchone()
    except apsw.SQLError:
        return None
    return bool(found and found[0])


_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$eq": lambda value, argument: compare(value, argument) == 0,
    "$ne": lambda value, argument: compare(value, argument) != 0,
    "$lt": lambda value, argument: compare(value, argument) < 0,
    "$lte": lambda value, argument: compare(value, argument) <= 0,
    "$gt": lambda value, argument: compare(value, argument) > 0,
    "$gte": lambda value, argument: compare(value, argument) >= 0,
    "$in": _in,
    "$nin": lambda value, argument: not _in(value, argument),
    "$all": _all_of,
    "$size": lambda value, argument: isinstance(value, list) and len(value) == argument,
    "$type": lambda value, argument: _TYPES[max(0, rank(value) - (rank(value) > 1))] == argument,
    "$mod": lambda value, argument: (
        _is_int(value) and _remainder(value, argument[0]) == argument[1]
    ),
    "$beginsWith": lambda value, argument: isinstance(value, str) and value.startswith(argument),
    "$regex": lambda value, argument: isinstance(value, str) and bool(_search(argument, value)),
    "$elemMatch": lambda value, argument: (
        isinstance(value, list) and any(matches(argument, each) for each in value)
    ),
    "$allMatch": lambda value, argument: (
        isinstance(value, list) and bool(value) and all(matches(argument, each) for each in value)
    ),
    "$keyMapMatch": lambda value, argument: (
        isinstance(value, dict) and any(matches(argument, each) for each in value)
    ),
}
