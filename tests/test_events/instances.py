"""Hypothesis strategies for everything that the vocabulary can say."""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any, cast

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from events import ids, moments, subjects
from events.vocabulary import TYPES, Event
from events.vocabulary.catalog import CatalogEvent

# Text as JSON may carry it: everything but lone surrogates, NUL and newline included.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
token = text.filter(bool)
moment = st.integers(moments.FIRST_MS, moments.LAST_MS).map(moments.moment)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
file_id = st.binary(min_size=16, max_size=16).map(ids.file_id_text)
node_id = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)


def _int(kind: inspect.IntType) -> st.SearchStrategy[int]:
    return st.integers(
        -(2**63) if kind.ge is None else kind.ge, 2**63 - 1 if kind.le is None else kind.le
    )


def _fields(kind: inspect.StructType) -> dict[str, st.SearchStrategy[Any]]:
    return {
        field.name: of(field.type) if field.required else of(field.type) | st.just(_default(field))
        for field in kind.fields
    }


def _default(field: inspect.Field) -> object:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return cast("Any", field.default_factory)()


def of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Instances of a type as msgspec describes it."""
    if type(kind) in _PLAIN:
        return _PLAIN[type(kind)]
    match kind:
        case inspect.StructType():
            return st.builds(kind.cls, **_fields(kind))
        case inspect.IntType():
            return _int(kind)
        case inspect.StrType():
            return moment if kind.pattern == moments.PATTERN else text
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.UnionType():
            return reduce(operator.or_, map(of, kind.types))
    return _collection(kind)


def _collection(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.ListType():
            return st.lists(of(kind.item_type), max_size=3)
        case inspect.VarTupleType():
            return st.lists(of(kind.item_type), max_size=3).map(tuple)
        case inspect.DictType():
            return st.dictionaries(of(kind.key_type), of(kind.value_type), max_size=3)
    raise AssertionError(f"the vocabulary has a kind of field that the tests do not know: {kind}")


_PLAIN: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.FloatType: st.floats(allow_nan=False, allow_infinity=False),
    inspect.BoolType: st.booleans(),
    inspect.NoneType: st.none(),
    inspect.AnyType: json_values,
}


def events_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    """Instances of one event type; ids of catalog documents are never empty."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    fields = _fields(described)
    if issubclass(kind, CatalogEvent):
        fields["id"] = token
    return st.builds(kind, **fields)


events = st.sampled_from(sorted(TYPES)).flatmap(lambda tag: events_of(TYPES[tag]))


def where(event: Event) -> st.SearchStrategy[tuple[str, ...]]:
    """The subject tokens that `encode` wants with an event."""
    known = {"catalog": 2, "files": 1, "nodes": 1}.get(event.area, 0)
    return st.tuples(*[token] * (len(subjects.GRAMMAR[event.area]) - known))
