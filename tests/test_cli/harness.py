"""The real `mosaicfs` as the tests run it: as a process, in folders of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli.supervise.leftovers import started
from tests import conftest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
PROCESSES: Final = ("nats", "projector", "gateway", "agent")
# A start takes about a second. A machine that is busy with other work may take far longer, and
# waiting for what comes costs nothing.
PATIENCE_S: Final = 60.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    conftest.wait_until(condition, what, PATIENCE_S)


def environment(home: Path) -> dict[str, str]:
    """Nothing of the developer's own instance, terminal or locale gets in."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MOSAICFS_")}
    for key in ("NO_COLOR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "COLUMNS"):
        kept.pop(key, None)
    return kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "TERM": "xterm", "LC_ALL": "C.UTF-8"}


class Instance:
    """One state folder, the `up` on it, and questions to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.files = folder / "files"
        self.files.mkdir(parents=True)
        self.environment = environment(folder)
        self.process: subprocess.Popen[bytes] | None = None
        self.said: list[dict[str, Any]] = []
        self._reader: threading.Thread | None = None

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "cli", *arguments, "--state", str(self.state)]

    def ask(self, *arguments: str, limit: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run one call to its end."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=limit,
            env=self.environment,
            cwd=self.folder,
            check=False,
        )

    def json(self, *arguments: str) -> dict[str, Any]:
        """The one JSON document that a call answers."""
        done = self.ask(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def up(self, *arguments: str, watch: bool = True) -> None:
        """Start `up` and wait until it says that it is ready."""
        self.start(*arguments, watch=watch)
        wait_until(lambda: self.kinds("ready") or self.ended, "up is ready")
        assert not self.ended, f"up ended: {self.said[-5:]}"

    def start(self, *arguments: str, watch: bool = True) -> None:
        extra = ["--watch", str(self.files)] if watch else []
        self.said = []
        self.process = subprocess.Popen(
            self.command("up", "--json", *extra, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            cwd=self.folder,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.said.append(json.loads(line))

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.said if line.get("kind") == kind]

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def pids(self) -> dict[str, int]:
        """The processes that `up` has started and that it knows to run."""
        try:
            known = json.loads((self.state / "run" / "up.json").read_bytes())
        except FileNotFoundError:
            return {}
        return {name: pid for name, (pid, _) in known.items()}

    def signal(self, sign: signal.Signals) -> int:
        """Send `up` a signal and wait for its end; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(sign)
        return self.wait()

    def wait(self) -> int:
        assert self.process is not None
        assert self._reader is not None
        assert self.process.stdout is not None
        code = self.process.wait(PATIENCE_S)
        # Its children have its output too, and end with it.
        self._reader.join(PATIENCE_S)
        self.process.stdout.close()
        return code

    def close(self) -> None:
        """Leave nothing behind, however the test ended."""
        if self.process is not None:
            self.signal(signal.SIGKILL)


def all_gone(pids: dict[str, int]) -> bool:
    return all(started(pid) is None for pid in pids.values())
