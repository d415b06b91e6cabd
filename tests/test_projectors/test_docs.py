"""docs/views.md says what the view says, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import msgspec
import pytest

from events.fold import DOCUMENT_TYPES
from projectors import service
from projectors.documents import schema
from projectors.feed import Line
from tests.test_projectors.examples import examples

if TYPE_CHECKING:
    from events.machine.places import Places

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "views.md").read_text()


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def rows(text: str) -> list[list[str]]:
    """The cells of every table in a text, without heads and backticks."""
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for table in tables
        for line in table.splitlines()[2:]
    ]


def test_every_type_has_its_example(tmp_path: Path) -> None:
    told = {
        title: json.loads(body)
        for title, body in re.findall(
            r"^### (\w+)\n.*?```json\n(.*?)```", section("Documents"), re.MULTILINE | re.DOTALL
        )
    }
    assert told == dict(examples(tmp_path))
    assert told.keys() >= {type_ for type_, _ in DOCUMENT_TYPES.values()}


def test_every_id_is_as_the_page_says() -> None:
    for type_, pattern, body in re.findall(
        r"^### (\w+)\n\n`_id`: `([^`]*)`.*?```json\n(.*?)```",
        section("Documents"),
        re.MULTILINE | re.DOTALL,
    ):
        prefix = pattern.partition("::")[0]
        assert json.loads(body)["_id"].startswith(f"{prefix}::"), type_


def test_every_table_and_column_stands_there() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(schema.DDL)
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'names_%'"
    ).fetchall()
    declared = {
        str(name): [
            str(column)
            for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))
        ]
        for (name,) in tables
    }
    assert {row[0]: row[1].split(", ") for row in rows(section("Tables"))} == declared


def test_the_feeds_line_is_as_the_page_says() -> None:
    text = section("The change feed")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    line = msgspec.json.decode(example, type=Line)
    assert msgspec.to_builtins(line) == json.loads(example)
    fields = [row[0] for row in rows(text.partition("| Verb |")[0])]
    assert fields == list(Line.__struct_fields__)


def test_every_verb_stands_there(machine: Places) -> None:
    told = {
        row[0] for row in rows("| Verb |" + section("The change feed").partition("| Verb |")[2])
    }
    assert told | {"follow"} == set(service.Service(machine).control._verbs)


@pytest.mark.parametrize("path", re.findall(r"`(projectors/[\w/.]*)`", PAGE))
def test_every_file_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_numbers_are_the_codes() -> None:
    from projectors import feed, window
    from projectors.documents import view

    assert f"more than {view.NAMED_DOCS:,}" in PAGE
    assert f"behind {feed._WAITING_LINES} waiting lines" in PAGE.replace("\n", " ")
    assert f"after\n{service._SNAPSHOT_CHANGES:,} changes" in PAGE
    assert f"the {window.WIDTH:,} below it" in PAGE
    assert service._LOOK_S == 15
