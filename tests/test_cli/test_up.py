"""`mosaicfs up`: starting, stopping and what survives what, with real processes."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.test_cli.harness import PROCESSES, all_gone, wait_until

if TYPE_CHECKING:
    from tests.test_cli.harness import Instance

pytestmark = pytest.mark.nats


def test_the_files_of_a_folder_are_documents_soon(instance: Instance) -> None:
    (instance.files / "first.txt").write_text("hello")
    began = time.monotonic()
    instance.up()
    wait_until(lambda: instance.ask("files", "search", "first").returncode == 0, "it is found")
    assert time.monotonic() - began < 20


def test_without_a_folder_it_indexes_a_sample_and_says_so(instance: Instance) -> None:
    instance.up(watch=False)
    assert "sample" in instance.kinds("ready")[0]["remark"]
    wait_until(lambda: len(instance.ask("files", "list", "--quiet").stdout.splitlines()) >= 36, "")
    shown = instance.ask("files", "search", "invoice")
    assert "invoice 2024-Q1.pdf" in shown.stdout


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(instance: Instance, sign: signal.Signals) -> None:
    instance.up()
    pids = instance.pids()
    assert set(pids) == set(PROCESSES)
    assert instance.signal(sign) == 0
    assert all_gone(pids)
    stopped = [line["process"] for line in instance.kinds("process") if line["state"] == "stopped"]
    assert stopped == [*reversed(PROCESSES)]
    assert instance.kinds("end")


def test_a_second_up_says_who_runs(instance: Instance) -> None:
    instance.up()
    assert instance.process is not None
    second = instance.ask("up", "--no-table")
    assert second.returncode == 4
    assert f"pid {instance.process.pid}" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    # The first one took no notice.
    assert instance.ask("status", "--quiet").returncode == 0


def test_nothing_survives_a_kill_and_the_next_up_works(instance: Instance) -> None:
    instance.up()
    pids = instance.pids()
    instance.signal(signal.SIGKILL)
    wait_until(lambda: all_gone(pids), "its children are gone")
    instance.up()
    assert instance.ask("status", "--quiet").returncode == 0


def test_a_killed_process_comes_back(instance: Instance) -> None:
    instance.up()
    for victim in PROCESSES:
        before = instance.pids()[victim]
        os.kill(before, signal.SIGKILL)

        def is_back(victim: str = victim, before: int = before) -> bool:
            healthy = instance.ask("status", "--process", victim, "--quiet").returncode == 0
            return healthy and instance.pids().get(victim, before) != before

        wait_until(is_back, f"{victim} is back")
        failed = [line for line in instance.kinds("process") if line["state"] == "failed"]
        assert failed[-1]["process"] == victim
        assert "SIGKILL" in failed[-1]["detail"]
    (instance.files / "after the storm.txt").write_text("calm")
    wait_until(lambda: instance.ask("files", "search", "after the").returncode == 0, "all works")


def test_a_stopped_process_is_killed_in_the_end(instance: Instance) -> None:
    instance.up()
    pids = instance.pids()
    os.kill(pids["agent"], signal.SIGSTOP)
    assert instance.signal(signal.SIGTERM) == 0
    assert all_gone(pids)
    stopping = [line for line in instance.kinds("process") if line["process"] == "agent"]
    assert any("killed" in line["detail"] for line in stopping)


def test_the_reader_of_its_output_goes_away(instance: Instance) -> None:
    process = subprocess.Popen(
        instance.command("up", "--watch", str(instance.files)),
        stdout=subprocess.PIPE,
        env=instance.environment,
        start_new_session=True,
    )
    try:
        wait_until(lambda: instance.ask("status", "--quiet").returncode == 0, "all run")
        pids = instance.pids()
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(30) == 0
        assert all_gone(pids)
    finally:
        process.kill()
        process.wait()


class Terminal:
    """A terminal with `up` in it."""

    def __init__(self, instance: Instance) -> None:
        command = instance.command("up", "--watch", str(instance.files))
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, instance.environment)
        self.shown = b""

    def shows(self, text: bytes) -> bool:
        while select.select([self.descriptor], [], [], 0)[0]:
            try:
                self.shown += os.read(self.descriptor, 65_536)
            except OSError:
                break
        return text in self.shown

    def wait(self) -> int:
        """The exit code, once it has ended."""
        found: list[int] = []

        def ended() -> bool:
            self.shows(b"")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                found.append(os.waitstatus_to_exitcode(status))
            return bool(pid)

        wait_until(ended, "up has ended")
        return found[0]


def test_the_terminal_is_closed(instance: Instance) -> None:
    terminal = Terminal(instance)
    wait_until(lambda: terminal.shows(b"watching"), "the table is drawn")
    pids = instance.pids()
    os.close(terminal.descriptor)
    wait_until(lambda: os.waitpid(terminal.pid, os.WNOHANG)[0], "up has ended")
    assert all_gone(pids)


def test_the_table_and_ctrl_c_in_a_terminal(instance: Instance) -> None:
    terminal = Terminal(instance)
    wait_until(lambda: terminal.shows(b"live") and terminal.shows(b"watching"), "all run")
    pids = instance.pids()
    os.write(terminal.descriptor, b"\x03")
    assert terminal.wait() == 0
    assert all_gone(pids)
    assert terminal.shows(b"files search")
    assert terminal.shown.rstrip().endswith(b"\x1b[?25h"), "the cursor is given back"
    os.close(terminal.descriptor)


def test_a_terminal_that_is_held_does_not_hold_the_supervisor(instance: Instance) -> None:
    terminal = Terminal(instance)
    wait_until(lambda: terminal.shows(b"watching"), "all run")
    pids = instance.pids()
    os.write(terminal.descriptor, b"\x13")  # Ctrl-S
    os.kill(terminal.pid, signal.SIGTERM)
    wait_until(lambda: all_gone(pids), "its children are gone")
    os.write(terminal.descriptor, b"\x11")  # Ctrl-Q
    assert terminal.wait() == 0
    os.close(terminal.descriptor)


def test_a_taken_port_is_said_or_avoided(instance: Instance) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = instance.ask("up", "--port", str(port))
        assert refused.returncode == 1
        assert f"port {port} is taken" in refused.stderr
        (instance.state / "nats" / "url").write_text(f"nats://127.0.0.1:{port}\n")
        instance.up()
        assert not instance.kinds("ready")[0]["url"].endswith(f":{port}")


def test_a_broken_configuration_is_told_at_once(instance: Instance) -> None:
    instance.state.mkdir()
    (instance.state / "agent.toml").write_text('watch_path = ["/srv"]\n')
    refused = instance.ask("up")
    assert refused.returncode == 5
    assert "agent.toml" in refused.stderr
    assert "watch_paths" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_folder_that_is_not_there(instance: Instance) -> None:
    wrong = instance.files.with_name("flies")
    refused = instance.ask("up", "--watch", str(wrong))
    assert refused.returncode == 1
    assert f'did you mean "{instance.files}"?' in refused.stderr
