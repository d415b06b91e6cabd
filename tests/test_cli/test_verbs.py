"""Every verb: its JSON, its exit code, and its one clear line for a mistake."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import click
import pytest

from cli.main import VERBS, root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.test_cli.harness import Instance

pytestmark = pytest.mark.nats

# Verb -> arguments and the keys of its answer. Those that answer one object a line come after.
ONE_OBJECT: dict[str, tuple[list[str], set[str]]] = {
    "status": ([], {"healthy", "up", "state", "processes"}),
    "doctor": ([], {"healthy", "findings"}),
    "files stat": (["files/report.pdf"], {"_id", "_rev", "file_id", "inode", "size", "version"}),
    "events show": (["FILES", "1"], {"stream", "sequence", "subject", "type", "event"}),
    "views status": ([], {"state", "files", "documents", "streams", "dead"}),
    "views verify": ([], {"equal", "differing_rows", "compared"}),
    "views snapshot": ([], {"step", "bytes"}),
    "views rebuild": ([], {"step", "files"}),
    "agent crawl": ([], {"files", "folders", "changed", "ms"}),
    "log-level": (["agent", "info"], {"process", "level"}),
    "completion": (["bash"], {"shell", "script"}),
}
LINES: dict[str, tuple[list[str], set[str]]] = {
    "files list": ([], {"id", "node", "path", "size", "mtime_ns", "mime_type", "deleted"}),
    "files search": (["report"], {"id", "node", "path"}),
    "events replay": (["--stream", "FILES"], {"stream", "sequence", "subject", "type", "event"}),
}
# They run until they are stopped.
ENDLESS = {"up", "events tail", "agent", "projector", "gateway"}


def every_verb(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield " ".join((*path, name))
        if isinstance(command, click.Group):
            yield from every_verb(command, (*path, name))


def test_no_verb_is_left_out_here() -> None:
    assert set(every_verb(root)) == ONE_OBJECT.keys() | LINES.keys() | ENDLESS


@pytest.mark.parametrize("verb", ONE_OBJECT)
def test_the_json_of_a_verb(running: Instance, verb: str) -> None:
    arguments, keys = ONE_OBJECT[verb]
    answer = running.json(*verb.split(), *arguments)
    assert keys <= answer.keys()


@pytest.mark.parametrize("verb", LINES)
def test_the_json_lines_of_a_verb(running: Instance, verb: str) -> None:
    arguments, keys = LINES[verb]
    lines = running.ask(*verb.split(), *arguments, "--json").stdout.splitlines()
    assert lines
    for line in lines:
        assert keys <= json.loads(line).keys()


@pytest.mark.parametrize("verb", [*ONE_OBJECT, *LINES])
def test_words_for_people(running: Instance, verb: str) -> None:
    arguments, _ = {**ONE_OBJECT, **LINES}[verb]
    done = running.ask(*verb.split(), *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout or verb == "log-level"
    assert "\x1b" not in done.stdout + done.stderr, "no colours without a terminal"


def test_options_stand_before_or_after_the_verb(running: Instance) -> None:
    before = running.ask("--json", "files", "search", "report")
    assert before.stdout == running.ask("files", "search", "report", "--json").stdout
    assert json.loads(before.stdout)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["stauts"], 'did you mean "status"?'),
        (["files", "serach", "x"], 'did you mean "search"?'),
        (["files", "search", "x", "--limt", "3"], 'did you mean "--limit"?'),
        (["xyzzy"], "mosaicfs --help"),
        (["files", "search"], "TEXT"),
        (["log-level", "agent", "loud"], "loud"),
        (["events", "replay", "--stream", "FILES", "--since", "yesterday-ish"], "--since"),
        (["up", "--port", "0"], "--port"),
    ],
)
def test_a_mistake_gets_one_line(instance: Instance, arguments: list[str], hint: str) -> None:
    done = instance.ask(*arguments)
    assert done.returncode == 2
    assert hint in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_an_error_in_json(running: Instance) -> None:
    done = running.ask("files", "stat", "/etc/hostname", "--json")
    assert done.returncode == 1
    assert json.loads(done.stderr).keys() == {"error", "code"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["agent", "crawl"],
        ["log-level", "projector", "debug"],
        ["events", "tail"],
        ["events", "replay", "--stream", "FILES"],
        ["views", "verify"],
    ],
    ids=" ".join,
)
def test_when_nothing_runs(instance: Instance, arguments: list[str]) -> None:
    done = instance.ask(*arguments)
    assert done.returncode in (3, 5)
    assert len(done.stderr.splitlines()) == 1


def test_help_names_every_verb_as_the_verb_does() -> None:
    context = click.Context(root)
    for name, text in VERBS.items():
        command = root.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(100) == text


def test_a_pipe_that_closes_early_is_no_failure(running: Instance) -> None:
    command = " ".join(f"'{word}'" for word in running.command("events", "show", "FILES", "1"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],
        env=running.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_show_and_replay_agree(running: Instance) -> None:
    shown: dict[str, Any] = running.json("events", "show", "files", "1")
    replayed = running.ask("events", "replay", "--stream", "FILES", "--limit", "1", "--json")
    assert json.loads(replayed.stdout) == shown
    none = running.ask("events", "replay", "--stream", "FILES", "--since", "2090-01-01", "--json")
    assert none.stdout == ""
    recent = running.ask("events", "replay", "--stream", "FILES", "--since", "1h", "--json")
    assert json.loads(recent.stdout.splitlines()[0]) == shown
    assert running.ask("events", "show", "FILES", "999999").returncode == 1


def test_tail_shows_what_happens_and_ends_with_ctrl_c(instance: Instance) -> None:
    instance.up()
    tail = subprocess.Popen(
        instance.command("events", "tail", "--subject", "mosaic.files.>"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=instance.environment,
        text=True,
    )
    assert tail.stdout is not None
    assert tail.stderr is not None
    with tail:
        try:
            assert "waiting for events" in tail.stderr.readline()
            (instance.files / "new.txt").write_text("new")
            line = tail.stdout.readline()
            assert "FILES#1 " in line
            assert "file.indexed" in line
            assert line.rstrip().endswith("/files/new.txt")
            (instance.files / "new.txt").unlink()
            assert "file.deleted" in tail.stdout.readline()
            tail.send_signal(signal.SIGINT)
            assert tail.wait(10) == 0
            assert tail.stderr.read() == ""
        finally:
            tail.kill()
