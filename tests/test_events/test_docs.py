"""docs/events.md and docs/glossary.md say what the code says, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from events import append, codec, commands, streams, subjects
from events.vocabulary import TYPES

ROOT = Path(__file__).resolve().parents[2]
EVENTS = (ROOT / "docs" / "events.md").read_text()
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()

COMMANDS = {str(kind.__struct_config__.tag) for kind in get_args(commands.AnyCommand)}


def sections() -> dict[str, str]:
    parts = re.split(r"^#{2,3} (.+)$", EVENTS, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """The cells of every table in a text, without heads and backticks."""
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for table in tables
        for line in table.splitlines()[2:]
    ]


def first_column(*titles: str) -> list[str]:
    return [row[0] for title in titles for row in rows(sections()[title])]


AREAS = {
    "Files": {"files"},
    "Catalog": {"catalog"},
    "Nodes and utilization": {"nodes", "utilization"},
    "Results": {"annotations", "replicas", "access"},
    "Notices and audit": {"notices", "audit"},
}


@pytest.mark.parametrize(("title", "areas"), AREAS.items())
def test_every_event_type_stands_in_the_table_of_its_area(title: str, areas: set[str]) -> None:
    assert first_column(title) == [tag for tag, kind in TYPES.items() if kind.area in areas]


def test_every_event_type_is_in_one_table() -> None:
    assert set().union(*AREAS.values()) == set(subjects.GRAMMAR)


def test_versions_are_as_the_page_says() -> None:
    """It says that all are at version 1 unless a row tells; so no row has to, yet."""
    later = {tag for tag, kind in TYPES.items() if kind.version > 1}
    told = {
        row[0] for title in AREAS for row in rows(sections()[title]) if "version" in " ".join(row)
    }
    assert told == later


def test_every_stream_stands_there_as_declared() -> None:
    assert rows(sections()["Streams"]) == [
        [stream.name, stream.subjects, stream.config(1)["metadata"]["mosaic.kept"]]
        for stream in streams.STREAMS
    ]


def test_the_subject_grammar_stands_there() -> None:
    found = {row[0]: tuple(row[1].split(", ")) for row in rows(sections()["Subjects"])}
    assert found == subjects.GRAMMAR


def test_every_header_stands_there() -> None:
    constants = {
        value
        for module in (codec, append)
        for value in vars(module).values()
        if isinstance(value, str) and re.fullmatch(r"(Nats|Mosaic)(-[A-Z][a-z]+)+", value)
    }
    assert len(constants) == 10
    assert set(first_column("Headers")) == constants
    assert set(re.findall(r"\b(?:Nats|Mosaic)(?:-[A-Z][a-z]+)+", EVENTS)) == constants


def test_every_command_stands_there_with_its_events() -> None:
    found = rows(sections()["Commands"])
    commands_found = {row[0]: row[1] for row in found if "." in row[0]}
    assert set(commands_found) == COMMANDS
    becomes = {
        tag for text in commands_found.values() for tag in re.findall(r"[a-z_]+\.[a-z_]+", text)
    }
    assert becomes == {tag for tag, kind in TYPES.items() if kind.area == "catalog"}


def test_every_code_of_a_refusal_stands_there() -> None:
    source = "".join((ROOT / "events" / name).read_text() for name in ("decide.py", "errors.py"))
    codes = set(re.findall(r'(?:Refused|super\(\).__init__)\(\s*"([a-z_]+)"', source))
    assert {row[0] for row in rows(sections()["Commands"]) if "." not in row[0]} == codes


def test_nothing_is_named_that_does_not_exist() -> None:
    subjects_of_tags = {tag.partition(".")[0] for tag in TYPES}
    named = {
        word
        for word in re.findall(r"`([a-z_]+\.[a-z_]+)`", EVENTS)
        if word.partition(".")[0] in subjects_of_tags
    }
    assert named <= set(TYPES) | COMMANDS


@pytest.mark.parametrize("text", [EVENTS, GLOSSARY], ids=["events.md", "glossary.md"])
def test_every_path_that_is_named_exists(text: str) -> None:
    named = set(re.findall(r"`((?:events|projectors|agent|cli|tests|docs)/[a-z_/.]*)`", text))
    assert len(named) > 10
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_every_module_function_that_is_named_exists() -> None:
    for module, name in re.findall(r"`events\.([a-z_]+)\.([a-z_]+)`", EVENTS):
        source = (ROOT / "events" / f"{module}.py").read_text()
        assert re.search(rf"^(?:async )?def {name}\b", source, re.MULTILINE)


# The glossary


def test_each_word_stands_once_and_in_order() -> None:
    words = [row[0] for row in rows(GLOSSARY)]
    assert words == sorted(set(words), key=str.casefold)


def test_each_word_has_a_meaning_and_a_place() -> None:
    for word, meaning, place in rows(GLOSSARY):
        assert meaning.endswith("."), word
        assert (ROOT / place).exists(), word


@pytest.mark.parametrize(
    "word",
    [
        *("agent", "node", "event", "command", "stream", "projector", "view", "reader"),
        *("checkpoint", "outbox", "change feed", "snapshot", "dead letter", "notice"),
        *("generation", "revision", "path text", "watch path", "crawl", "fold", "decide"),
    ],
)
def test_the_words_that_everything_is_said_with_are_there(word: str) -> None:
    assert word in {row[0] for row in rows(GLOSSARY)}


def test_every_kind_of_thing_in_the_log_has_its_word() -> None:
    words = {row[0] for row in rows(GLOSSARY)}
    of_tags = {tag.partition(".")[0] for tag in TYPES}
    said = {
        "file": "file id",
        "directory": "virtual directory",
        "labels": "label",
        "label_rule": "label",
        "backend": "storage backend",
        "replication_rule": "replica",
        "user": "actor",
        "setting": "catalog",
    }
    assert {said.get(each, each) for each in of_tags} <= words
