"""The gateway's own queries on the document view: pages of files, search, labels.

Every one walks an index and stops at its limit, except where it says otherwise.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from events.ids import file_id_bytes, file_id_text
from events.machine.database import errors
from projectors.documents import letters
from projectors.documents.reader import FileRow, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Sort = Literal["relevance", "name", "path", "modified", "size"]

_CACHE_KIB: Final = 12 * 1024

_COLUMNS: Final = (
    "f.uuid, o.node, f.inode, d.path, f.name, f.size, f.mtime, m.mime, f.version, f.deleted, f.n"
)
_PAGE: Final = f"""
SELECT {_COLUMNS} FROM folders d CROSS JOIN files f ON f.folder = d.id
JOIN nodes o ON o.id = d.node JOIN mimes m ON m.id = f.mime
"""
# By relevance, this many matches are looked at; the best of them are given.
LOOKED_AT: Final = 500

_ORDER: Final[dict[str, str]] = {
    "name": "f.name, f.id",
    "path": "d.path, f.name, f.id",
    "modified": "f.mtime DESC, f.id",
    "size": "f.size DESC, f.id",
}


class Place(NamedTuple):
    """Where a page of files ended: the order of files is by node, folder, name and id."""

    node: str
    parent: str
    name: str
    file: str


class Found(NamedTuple):
    """Matches of a search, and whether there are more than were given."""

    files: list[FileRow]
    more: bool


class Rule(NamedTuple):
    """A label rule, as far as finding out who bears its labels goes."""

    id: str
    node: str
    prefix: str
    labels: list[str]


class Catalogue(Reader):
    """A reader of the document view with the queries of the gateway."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        # Several threads read the same file. Mapped, its pages would count once for each of them.
        self._connection.pragma("mmap_size", 0)
        self._connection.pragma("cache_size", -_CACHE_KIB)

    def generation(self, doc: str) -> int:
        """The generation of a document, removed or not; 0 if there never was one."""
        rows = self._rows("SELECT generation FROM documents WHERE doc = ?", (doc,))
        return int(rows[0][0]) if rows else 0

    # Pages of files

    def page(
        self,
        *,
        node: str | None = None,
        parent: str | None = None,
        below: str | None = None,
        after: Place | None = None,
        limit: int,
        deleted: bool = False,
    ) -> list[FileRow]:
        """Files in order of node, folder and name, behind a place.

        `parent` takes the files of one folder, `below` those of a folder and all under it.
        """
        found: list[FileRow] = []
        for number, name in self._rows(
            "SELECT id, node FROM nodes WHERE (?1 IS NULL OR node = ?1) AND node >= ?2 "
            "ORDER BY node",
            (node, after.node if after else ""),
        ):
            behind = after if after and after.node == name else None
            for where, bindings in _stretches(parent, below, behind):
                wanted = limit - len(found)
                if wanted <= 0:
                    return found
                found += self._stretch(where, (number, *bindings), wanted, deleted=deleted)
        return found

    def _stretch(
        self, where: str, bindings: tuple[Any, ...], limit: int, *, deleted: bool
    ) -> list[FileRow]:
        # Files that are there and files that are gone have an index each.
        halves = ("IS NULL", "IS NOT NULL") if deleted else ("IS NULL",)
        rows = [
            row
            for half in halves
            for row in self._file_rows(
                f"{_PAGE} WHERE d.node = ? AND {where} AND f.deleted {half} "
                "ORDER BY d.path, f.name, f.uuid LIMIT ?",
                (*bindings, limit),
            )
        ]
        return sorted(rows, key=_by_place)[:limit] if deleted else rows

    def _file_rows(self, query: str, bindings: tuple[Any, ...] | dict[str, Any]) -> list[FileRow]:
        with errors(self._path):
            rows: list[Any] = self._connection.execute(query, bindings).fetchall()
        return [FileRow(file_id_text(row[0]), *row[1:]) for row in rows]

    # Search

    def find(
        self,
        text: str,
        *,
        node: str | None = None,
        label: str | None = None,
        sort: Sort = "relevance",
        skip: int = 0,
        limit: int = 50,
        deleted: bool = False,
    ) -> Found:
        """Files whose name holds the text, or fits it as a glob if it has `*` or `?`.

        Case does not matter. By `relevance` the best of the first matches are given; every other
        order looks at all matches.
        """
        bindings: dict[str, Any] = {"node": node, "limit": skip + limit + 1}
        conditions = ["(:node IS NULL OR o.node = :node)"]
        if not deleted:
            conditions.append("f.deleted IS NULL")
        if label is not None:
            conditions.append(self._bears(label, bindings))
        source = _matching(text, conditions, bindings)
        where = " AND ".join(conditions)
        if sort != "relevance":
            order = f"ORDER BY {_ORDER[sort]}"
            rows = self._named(source, where, order, bindings)[skip:]
            return Found(rows[:limit], len(rows) > limit)
        bindings["limit"] = max(LOOKED_AT, skip + limit + 1)
        rows = self._named(source, where, "", bindings)
        rows.sort(key=_rank(text))
        return Found(rows[skip : skip + limit], len(rows) > skip + limit)

    def _named(
        self, source: str, where: str, order: str, bindings: dict[str, Any]
    ) -> list[FileRow]:
        query = (
            f"SELECT {_COLUMNS} FROM {source} JOIN folders d ON d.id = f.folder "
            "JOIN nodes o ON o.id = d.node JOIN mimes m ON m.id = f.mime "
            f"WHERE {where} {order} LIMIT :limit"
        )
        return self._file_rows(query, bindings)

    # Labels

    def label_rules(self) -> list[Rule]:
        """The label rules that are enabled."""
        return [
            Rule(
                str(body["_id"]).removeprefix("label_rule::"),
                body["node"],
                body["path_prefix"],
                body["labels"],
            )
            for body in self.documents("label_rule")
            if body.get("enabled", True)
        ]

    def _bears(self, label: str, bindings: dict[str, Any]) -> str:
        """The condition that a file bears the label, directly or by a rule."""
        bindings["label"] = label
        rules = [
            {"n": rule.node, "p": rule.prefix}
            for rule in self.label_rules()
            if label in rule.labels
        ]
        bindings["rules"] = json.dumps(rules)
        by_rule = (
            "EXISTS (SELECT 1 FROM json_each(:rules) r WHERE r.value ->> 'n' IN ('*', o.node) "
            "AND substr(d.path || '/', 1, length(r.value ->> 'p')) = r.value ->> 'p')"
        )
        # Evaluated once: it does not look at the file.
        direct = (
            "f.uuid IN (SELECT unhex(replace(substr(a.doc, 19), '-', '')) FROM documents a "
            "WHERE a.type = 'label_assignment' AND a.body IS NOT NULL AND EXISTS "
            "(SELECT 1 FROM json_each(a.body, '$.labels') l WHERE l.value = :label))"
        )
        return f"({by_rule} OR {direct})" if rules else direct

    def direct_labels(self, file: str) -> dict[str, Any] | None:
        """The assignment document of a file."""
        return self.document(f"label_assignment::{file}")

    def rules_of(self, file: FileRow) -> list[Rule]:
        """The enabled label rules that hold for a file."""
        place = file.parent.rstrip("/") + "/"
        return [
            rule
            for rule in self.label_rules()
            if rule.node in ("*", file.node) and place.startswith(rule.prefix)
        ]

    def labels(self) -> list[tuple[str, int, int]]:
        """Every label, with how many files bear it directly and how many rules give it."""
        rows = self._rows(
            """SELECT label, sum(direct), sum(by_rule) FROM (
                   SELECT l.value AS label, 1 AS direct, 0 AS by_rule
                   FROM documents a, json_each(a.body, '$.labels') l
                   WHERE a.type = 'label_assignment' AND a.body IS NOT NULL
                   UNION ALL
                   SELECT l.value, 0, 1 FROM documents a, json_each(a.body, '$.labels') l
                   WHERE a.type = 'label_rule' AND a.body IS NOT NULL
               ) GROUP BY label ORDER BY label"""
        )
        return [(str(label), int(direct), int(by_rule)) for label, direct, by_rule in rows]


def _by_place(row: FileRow) -> tuple[str, str, str]:
    return row.parent, row.name, row.id


def _stretches(
    parent: str | None, below: str | None, after: Place | None
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The conditions on one node's folders and files, one after the other in the order of a page.

    Several plain conditions and not one with OR: each is a walk along an index.
    """
    for exact, low, high in _ranges(parent, below):
        if after is None:
            yield (("d.path = ?", (low,)) if exact else _between(low, high, strictly=False))
            continue
        within = after.parent == low if exact else low <= after.parent < (high or "\U0010ffff")
        if within:
            yield (
                "d.path = ? AND (f.name, f.uuid) > (?, ?)",
                (after.parent, after.name, file_id_bytes(after.file)),
            )
        if not exact:
            start = max(low, after.parent)
            yield _between(start, high, strictly=after.parent >= low)
        elif after.parent < low:
            yield "d.path = ?", (low,)


def _ranges(parent: str | None, below: str | None) -> list[tuple[bool, str, str | None]]:
    """Stretches of folders in order: one folder exactly, or all from `low` up to `high`."""
    if parent is not None:
        if below is not None and not _is_below(parent, below):
            return []
        return [(True, parent, None)]
    if below is None or below == "/":
        return [(False, "/", None)]
    # '0' is the character behind '/'.
    return [(True, below, None), (False, f"{below}/", f"{below}0")]


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _between(low: str, high: str | None, *, strictly: bool) -> tuple[str, tuple[Any, ...]]:
    sign = ">" if strictly else ">="
    if high is None:
        return f"d.path {sign} ?", (low,)
    return f"d.path {sign} ? AND d.path < ?", (low, high)


def _matching(text: str, conditions: list[str], bindings: dict[str, Any]) -> str:
    """The source of candidates for a search text; adds the conditions that make them matches."""
    globbed = is_glob(text)
    literals = text.replace("?", "*").split("*") if globbed else [text]
    indexed = [part for part in literals if len(part) >= 3]
    # The index finds a plain text by itself. A glob is checked, and so is what is too short for
    # the index: by LIKE where ASCII is all there is, because it is ten times faster.
    if globbed or not indexed:
        if text.isascii():
            conditions.append("f.name LIKE :pattern ESCAPE '\\'")
            bindings["pattern"] = _like(text, globbed)
        else:
            conditions.append("fold(f.name) GLOB :pattern")
            folded = letters.fold(text if globbed else f"*{text}*")
            bindings["pattern"] = folded.replace("[", "[[]")
    if not indexed:
        return "files f"
    quoted = ['"' + part.replace('"', '""') + '"' for part in indexed]
    bindings["match"] = " AND ".join(quoted)
    conditions.insert(0, "names MATCH :match")
    return "names CROSS JOIN files f ON f.id = names.rowid"


def is_glob(text: str) -> bool:
    return "*" in text or "?" in text


def _like(text: str, globbed: bool) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    if not globbed:
        return f"%{escaped}%"
    return escaped.replace("*", "%").replace("?", "_")


def _rank(text: str) -> Callable[[FileRow], tuple[int, int, str, str]]:
    """Whole names first, then beginnings, then beginnings of words, then the rest; short first."""
    wanted = letters.fold(text.strip("*?"))

    def rank(file: FileRow) -> tuple[int, int, str, str]:
        name = letters.fold(file.name)
        at = name.find(wanted)
        stem = name.rpartition(".")[0] or name
        if wanted in (name, stem):
            kind = 0
        elif at == 0:
            kind = 1
        elif at > 0 and not name[at - 1].isalnum():
            kind = 2
        else:
            kind = 3
        return kind, len(name), name, file.id

    return rank


def highlights(name: str, text: str) -> list[tuple[int, int]]:
    """Where in a name the literal parts of a search text stand: start and end, in characters."""
    folded = letters.fold(name)
    marks: list[tuple[int, int]] = []
    at = 0
    for part in letters.fold(text).replace("?", "*").split("*"):
        if not part:
            continue
        start = folded.find(part, at)
        if start < 0:
            break
        at = start + len(part)
        marks.append((start, at))
    return marks
