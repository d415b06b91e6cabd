"""Structured logs: whole JSON lines whatever is said, rotated, at a level that may change."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.machine import log
from events.machine.log import JsonLines, Readable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger("somebody")


@pytest.fixture(autouse=True)
def own_root() -> Iterator[None]:
    """The root logger and its handlers, as they were, after a test has set it up."""
    root, nats = logging.getLogger(), logging.getLogger("nats")
    before = root.handlers[:], root.level, nats.level
    yield
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    nats.setLevel(before[2])


def record(message: str, *args: object, **fields: object) -> logging.LogRecord:
    return logger.makeRecord(
        "somebody", logging.INFO, __file__, 1, message, args, None, extra=fields
    )


def line(formatter: logging.Formatter, each: logging.LogRecord) -> dict[str, Any]:
    text = formatter.format(each)
    assert "\n" not in text
    text.encode()
    found: dict[str, Any] = json.loads(text)
    return found


hostile = st.text() | st.sampled_from(["\udc80", "\n", '"}', "\x1b[2J", "\0", "\u2028"])


@given(hostile, st.dictionaries(st.sampled_from(["node_id", "file_id", "path"]), hostile))
def test_any_text_is_one_line_of_json(message: str, fields: dict[str, str]) -> None:
    found = line(JsonLines("agent"), record("%s", message, **fields))
    for key, value in {"message": message, **fields}.items():
        assert found[key] == value.encode(errors="backslashreplace").decode()
    assert (found["level"], found["process"], found["logger"]) == ("INFO", "agent", "somebody")
    assert found["time"].endswith("Z")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (7, 7),
        (None, None),
        (1.5, 1.5),
        ({"a": [1]}, {"a": [1]}),
        (float("nan"), None),
        (2**70, 2**70),
        ({1}, [1]),
        (ValueError("no"), "no"),
        (b"x", "eA=="),
        (["\udc80"], "['\\udc80']"),
        ({"\udc80": 1}, "{'\\udc80': 1}"),
    ],
)
def test_fields_of_any_kind_are_written(value: object, written: object) -> None:
    assert line(JsonLines("agent"), record("m", field=value))["field"] == written


def test_a_field_does_not_pass_itself_off_as_the_lines_own() -> None:
    found = line(JsonLines("agent"), record("m", level="DEBUG", time="never", logger="me"))
    assert (found["level"], found["logger"]) == ("INFO", "somebody")
    assert found["time"] != "never"


def test_an_exception_is_told_in_the_same_line() -> None:
    try:
        raise RuntimeError("first\nsecond \udc80")
    except RuntimeError as wrong:
        each = logger.makeRecord(
            "x", logging.ERROR, __file__, 1, "m", (), (type(wrong), wrong, wrong.__traceback__)
        )
    found = line(JsonLines("agent"), each)
    assert "RuntimeError: first\nsecond" in found["error"]


def test_a_line_for_people_has_its_fields_behind() -> None:
    text = Readable("agent").format(record("crawled %d", 3, duration_ms=12, node_id="n"))
    assert text.endswith("INFO    agent  crawled 3  duration_ms=12 node_id=n")


def test_a_service_writes_json_into_its_file(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    log.set_up("agent", file=file)
    logger.info("one", extra={"file_id": "f"})
    logger.debug("not this")
    logger.warning("two \udc80")
    lines = [json.loads(each) for each in file.read_text().splitlines()]
    assert [each["message"] for each in lines] == ["one", "two \\udc80"]
    assert lines[0]["file_id"] == "f"


def test_a_terminal_gets_readable_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("agent", file=None)
    logger.info("hello")
    assert "agent  hello" in capsys.readouterr().err


def test_setting_up_again_does_not_say_everything_twice(tmp_path: Path) -> None:
    for name in ("first.log", "second.log"):
        log.set_up("agent", file=tmp_path / name)
    logger.info("hello")
    assert (tmp_path / "first.log").read_text() == ""
    assert (tmp_path / "second.log").read_text().count("hello") == 1


def test_the_level_changes_while_the_process_runs(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    log.set_up("agent", file=file, level="WARNING")
    logger.info("one")
    log.set_level("debug")
    logger.debug("two")
    log.set_level("ERROR")
    logger.warning("three")
    assert [json.loads(each)["message"] for each in file.read_text().splitlines()] == ["two"]
    with pytest.raises(ValueError, match="Unknown level"):
        log.set_level("loud")


def test_files_are_rotated_and_their_number_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "ROTATE_BYTES", 2000)
    log.set_up("agent", file=tmp_path / "agent.log")
    for number in range(200):
        logger.info("line %d", number)
    files = sorted(tmp_path.iterdir())
    assert [each.name for each in files] == [
        "agent.log",
        *(f"agent.log.{number}" for number in range(1, log.ROTATE_FILES)),
    ]
    assert all(each.stat().st_size <= 2000 for each in files)
    newest = files[0].read_text().splitlines()
    assert json.loads(newest[-1])["message"] == "line 199"
    for each in files:
        assert all(json.loads(text) for text in each.read_text().splitlines())
