"""Filters that a client chooses for `_changes`. They narrow what it may see, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.couch import design
from gateway.couch.answers import CouchError, Json, bad
from gateway.couch.mango import selector, sql
from projectors.documents import changes, couch

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.couch.parameters import Parameters
    from projectors.documents.couch import Entry

_MOST_IDS: Final = 10_000


class Filter(NamedTuple):
    """`condition` is for SQL and may let too much pass, `accepts` decides."""

    condition: changes.Condition
    accepts: Callable[[Entry], bool]
    everything: bool = False


def _any(entry: Entry) -> bool:
    return True


NONE: Final = Filter(changes.ALL, _any, everything=True)


def filter_of(given: Parameters, body: dict[str, Any]) -> Filter:
    """The filter that a request names."""
    name = given.text("filter")
    if name == "_selector":
        if "selector" not in body:
            raise bad("filter=_selector needs a selector in the body")
        return by_selector(body["selector"])
    if name == "_doc_ids" or (not name and "doc_ids" in body):
        ids = body["doc_ids"] if "doc_ids" in body else given.json("doc_ids")
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise bad("doc_ids must be an array of ids")
        return _by_ids(ids)
    if name == "_view":
        group, _, view = given.text("view").partition("/")
        emits = design.find(group, view).emits
        return Filter(changes.ALL, lambda entry: not entry.deleted and emits(entry.document()))
    if name:
        raise CouchError(404, "not_found", f"no such filter: {name}")
    return NONE


def by_selector(given: Json) -> Filter:
    """Documents that a selector matches. A tombstone still has its type, so that a client that
    follows one type learns what was removed."""
    tree = selector.parse(given)
    condition = sql.condition(tree)
    if condition.documents is not None:
        where, bindings = condition.documents
        condition = condition._replace(documents=(f"body IS NULL OR ({where})", bindings))
    else:
        condition = condition._replace(documents=("body IS NULL", ()))

    def accepts(entry: Entry) -> bool:
        document = entry.document()
        if entry.deleted:
            document["type"] = entry.type
        return selector.matches(tree, document)

    return Filter(condition, accepts)


def _by_ids(ids: list[str]) -> Filter:
    if len(ids) > _MOST_IDS:
        raise bad(f"at most {_MOST_IDS} doc_ids")
    files = tuple(key for key in (couch.file_key(each) for each in ids) if key is not None)
    others = tuple(each for each in ids if not each.startswith(couch.FILE_PREFIX))
    wanted = frozenset(ids)
    return Filter(
        changes.Condition(
            (f"f.uuid IN ({_marks(files)})", files) if files else None,
            (f"doc IN ({_marks(others)})", others) if others else None,
        ),
        lambda entry: entry.doc in wanted,
    )


def _marks(values: tuple[Any, ...]) -> str:
    return ", ".join("?" * len(values))
