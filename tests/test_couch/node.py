"""PouchDB in a node process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).with_name("pouch")


def installed() -> Path:
    """The packages of the lock file, installed once for each state of it."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("node and npm are needed")
        pytest.skip("there is no node here")
    mark = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "mosaicfs-tests" / f"pouch-{mark}"
    if not (folder / "complete").exists():
        # In a folder of its own first: another worker may be doing the same.
        making = folder.with_name(f"{folder.name}.{os.getpid()}")
        making.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, making)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=making, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        (making / "complete").touch()
        try:
            making.rename(folder)
        except OSError:
            shutil.rmtree(making)
    return folder


class Pouch:
    """A node process with PouchDB."""

    def __init__(self, folder: Path) -> None:
        modules = installed() / "node_modules"
        folder.mkdir(parents=True)
        self._process = subprocess.Popen(
            ["node", str(HERE / "drive.js"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "NODE_PATH": str(modules)},
        )

    def ask(self, verb: str, **question: Any) -> Any:  # noqa: ANN401  # JSON
        answer = self.raw(verb, **question)
        assert "error" not in answer, answer["error"]
        return answer["answer"]

    def raw(self, verb: str, **question: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": verb, **question}).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], 30)
        assert ready, f"PouchDB does not answer to {verb}"
        line = self._process.stdout.readline()
        assert line, "node ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
