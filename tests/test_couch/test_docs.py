"""docs/couch.md and the routes agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from events.machine import places
from gateway import couch
from gateway.couch.callers import Callers
from gateway.couch.databases import DATABASES
from gateway.couch.design import VIEWS
from gateway.couch.local import Local
from gateway.couch.mango.selector import _ARGUMENTS
from tests.test_couch.world import Context

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = Path(__file__).parents[2] / "docs" / "couch.md"


def paths(folder: Path) -> Mapping[str, set[str]]:
    """Every path of the API with its methods."""
    where = places.find(folder)
    where.make()
    context = Context(where)
    local = Local(where.state / "local.db")
    table = couch.table(context, Callers(context), local)
    local.close()
    context.views.close()
    return {path: set(methods) for path, methods in table.items()}


def test_every_path_is_in_the_docs_and_the_other_way_round(tmp_path: Path) -> None:
    told = {
        path: set(methods.split(", "))
        for methods, path in re.findall(
            r"^\| ([A-Z, ]+) \| `(/db[^`]*)` \|", PAGE.read_text(), re.MULTILINE
        )
    }
    assert told == paths(tmp_path)


def test_the_databases_views_and_operators_are_in_the_docs() -> None:
    text = PAGE.read_text()
    for database in DATABASES:
        assert f"| `{database}` |" in text
    views = {f"{group}/{name}" for group, views in VIEWS.items() for name in views}
    assert views == set(re.findall(r"^\| `(\w+/\w+)` \|", text, re.MULTILINE))
    operators = {*_ARGUMENTS, "$and", "$or", "$nor", "$not"}
    operators |= {"$elemMatch", "$allMatch", "$keyMapMatch"}
    assert operators == set(re.findall(r"\$\w+", text))
