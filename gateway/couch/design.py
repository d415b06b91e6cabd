"""The built-in views. They are defined here and compiled into the program: no client's code runs.

Views over files are SQL, reduced by SQLite. Views over other documents emit rows as CouchDB's map
functions do; those documents are few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from gateway.couch.answers import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Emitted = Iterable[tuple[Any, Any]]


class View(NamedTuple):
    """One view. `columns` are SQL for the parts of the key, where files are looked at; `emit` gives
    rows for a document of the types."""

    about: str
    reduce: Literal["_count", "_stats"]
    columns: tuple[str, ...] = ()
    types: frozenset[str] = frozenset()
    emit: Callable[[dict[str, Any]], Emitted] | None = None

    def emits(self, document: dict[str, Any]) -> bool:
        """Whether the document is in the view; for `filter=_view`."""
        if self.columns:
            return document.get("type") == "file" and document.get("status") == "active"
        assert self.emit is not None
        return document.get("type") in self.types and any(True for _ in self.emit(document))


def _labels(document: dict[str, Any]) -> Emitted:
    return [([label, document.get("file_id")], None) for label in document.get("labels", [])]


def _replicas(document: dict[str, Any]) -> Emitted:
    return [([document.get("target_name"), document.get("status")], document.get("size", 0))]


def _notifications(document: dict[str, Any]) -> Emitted:
    return [([document.get("status"), document.get("severity")], None)]


def _annotations(document: dict[str, Any]) -> Emitted:
    return [([document.get("plugin_name"), document.get("file_id")], None)]


VIEWS: Final[dict[str, dict[str, View]]] = {
    "files": {
        "by_folder": View(
            "Live files: node, folder, name; the size is the value",
            "_stats",
            columns=("o.node", "d.path", "f.name"),
        ),
        "by_media_type": View(
            "Live files: media type, node; the size is the value",
            "_stats",
            columns=("m.mime", "o.node"),
        ),
    },
    "labels": {
        "by_label": View(
            "Direct labels: label, file",
            "_count",
            types=frozenset({"label_assignment"}),
            emit=_labels,
        ),
    },
    "replicas": {
        "by_target": View(
            "Copies: target, status; the size is the value",
            "_stats",
            types=frozenset({"replica"}),
            emit=_replicas,
        ),
    },
    "notifications": {
        "by_status": View(
            "Notifications: status, severity",
            "_count",
            types=frozenset({"notification"}),
            emit=_notifications,
        ),
    },
    "annotations": {
        "by_plugin": View(
            "Results of plugins: plugin, file",
            "_count",
            types=frozenset({"annotation"}),
            emit=_annotations,
        ),
    },
}


def find(group: str, name: str) -> View:
    """The view `_design/group/_view/name`."""
    view = VIEWS.get(group, {}).get(name)
    if view is None:
        raise missing("missing_named_view" if group in VIEWS else "missing")
    return view


def document(group: str) -> dict[str, Any]:
    """What a client sees as the design document. It is in no listing and in no feed: a replica of
    it could not be run."""
    if group not in VIEWS:
        raise missing()
    return {
        "_id": f"_design/{group}",
        "_rev": "1-" + "0" * 32,
        "language": "builtin",
        "views": {
            name: {"map": view.about, "reduce": view.reduce} for name, view in VIEWS[group].items()
        },
    }
