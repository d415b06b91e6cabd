"""`mosaicfs doctor` on set-ups that are broken in known ways."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from cli.checks.storage import count_folders

if TYPE_CHECKING:
    from pathlib import Path

    from tests.test_cli.harness import Instance


def findings(instance: Instance, code: int) -> dict[tuple[str, str], dict[str, Any]]:
    done = instance.ask("doctor", "--json")
    assert done.returncode == code, done.stdout
    return {(each["check"], each["state"]): each for each in json.loads(done.stdout)["findings"]}


def test_a_fresh_machine_can_start(instance: Instance) -> None:
    found = findings(instance, 0)
    assert ("nats-server", "ok") in found
    assert ("python", "ok") in found
    assert all(each["mend"] for (_, state), each in found.items() if state != "ok")
    assert not instance.state.exists(), "looking changes nothing"


@pytest.mark.nats
def test_what_is_broken_is_found_and_can_be_mended(instance: Instance) -> None:
    instance.up()
    assert findings(instance, 0)[("streams", "ok")]
    instance.signal(signal.SIGTERM)

    key = instance.state / "keys" / "control.nk"
    key.chmod(0o644)
    stale = instance.state / "run" / "agent.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    view = (instance.state / "views" / "documents.db").resolve()
    content = view.read_bytes()
    view.write_bytes(b"not a database, by any means".ljust(len(content), b"?"))
    toml = instance.state / "agent.toml"
    toml.write_text(toml.read_text().replace("watch_paths", "watch_pahts"))

    found = findings(instance, 1)
    assert found[("permissions", "fail")]["mend"] == f"chmod 600 {key}"
    assert found[("sockets", "warn")]["mend"] == f"rm {stale}"
    assert found[("view", "fail")]["mend"] == "mosaicfs views rebuild"
    assert "watch_paths" in found[("agent.toml", "fail")]["detail"]

    shown = instance.ask("doctor", "--quiet").stdout
    assert "mend: chmod 600" in shown
    assert "python" not in shown, "quiet tells what is wrong only"


def test_folders_are_counted_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert count_folders([str(tmp_path), str(tmp_path / "gone")], 10) == (3, True)
    assert count_folders([str(tmp_path)], 0) == (0, False)
