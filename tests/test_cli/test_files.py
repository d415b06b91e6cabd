"""`mosaicfs files` on a real view, with names that would do harm."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from events import paths

if TYPE_CHECKING:
    from tests.test_cli.harness import Instance

pytestmark = pytest.mark.nats

COMMANDS = (
    ("files", "list"),
    ("files", "search", "txt"),
    ("events", "replay", "--stream", "FILES"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_name_reaches_the_terminal_raw(running: Instance, command: tuple[str, ...]) -> None:
    shown = running.ask(*command)
    assert shown.returncode == 0
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown.stdout)


def test_a_row_for_each_file_whatever_its_name(running: Instance) -> None:
    rows = running.ask("files", "list", "--quiet").stdout.splitlines()
    assert len(rows) == 8
    assert any(r"new\nline.txt" in row for row in rows)


def test_names_are_exact_in_json(running: Instance) -> None:
    lines = running.ask("files", "list", "--json").stdout.splitlines()
    found = {paths.to_bytes(json.loads(line)["path"]) for line in lines}
    for raw in (
        b"new\nline.txt",
        b"not utf-8 \xff\xfe.txt",
        b"\x1b[31mred\x1b[0m \x1b]0;title\x07.txt",
    ):
        assert bytes(running.files) + b"/" + raw in found


def test_list_of_a_folder_and_of_everything(running: Instance) -> None:
    below = running.ask("files", "list", str(running.files / "deep"), "--json").stdout.splitlines()
    assert [json.loads(line)["path"] for line in below] == [
        str(running.files / "deep/er/photo.png")
    ]
    # A relative path is meant from the current folder.
    assert running.ask("files", "list", "files/deep", "--json").stdout.splitlines() == below
    assert len(running.ask("files", "list", "--limit", "3", "--json").stdout.splitlines()) == 3
    assert len(running.ask("files", "list", "--all", "--json").stdout.splitlines()) == 8
    more = running.ask("files", "list", "--limit", "3")
    assert "--limit or --all shows more" in more.stderr


def test_search(running: Instance) -> None:
    for text in ("report", "REPORT", "*.PDF", "rep*rt.???"):
        found = running.ask("files", "search", text, "--json").stdout.splitlines()
        assert [json.loads(line)["path"] for line in found] == [str(running.files / "report.pdf")]
    nothing = running.ask("files", "search", "no such file")
    assert (nothing.returncode, nothing.stdout) == (1, "")


def test_stat_by_path_id_and_inode(running: Instance) -> None:
    by_path = running.json("files", "stat", str(running.files / "report.pdf"))
    assert by_path["size"] == 10
    assert by_path["mime_type"] == "application/pdf"
    assert running.json("files", "stat", by_path["file_id"]) == by_path
    assert running.json("files", "stat", by_path["_id"]) == by_path
    assert running.json("files", "stat", str(by_path["inode"])) == by_path
    assert running.json("files", "stat", "files/report.pdf") == by_path
    shown = running.ask("files", "stat", "files/report.pdf").stdout
    assert "10 B (10 bytes)" in shown
    assert by_path["_rev"] in shown


def test_a_path_that_is_not_indexed(running: Instance) -> None:
    near = running.ask("files", "stat", str(running.files / "reprot.pdf"))
    assert near.returncode == 1
    assert f'did you mean "{running.files / "report.pdf"}"?' in near.stderr
    far = running.ask("files", "stat", "/etc/hostname")
    assert far.returncode == 1
    assert f"watched folders are {running.files}" in far.stderr
    assert running.ask("files", "list", "/nowhere").returncode == 1


def test_without_a_view(instance: Instance) -> None:
    for command in (("files", "list"), ("files", "search", "x"), ("views", "status")):
        refused = instance.ask(*command)
        assert refused.returncode == 3
        assert "mosaicfs up" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
