"""./mosaicfs, the launcher: run for real on a small tree whose locks hold one tiny wheel."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60
NOBODY = 65534
# What the launcher needs of a system. No apt-get and no sudo: a test must not install anything.
COMMANDS = ["cksum", "cmp", "cp", "date", "flock", "id", "mkdir", "mv", "readlink", "rm", "sh"]


class Tree:
    """A clone with locks of its own, a `cli` that prints its arguments, and few commands."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "clone"
        self.wheel = folder / "tiny-1.0-py3-none-any.whl"
        self.path = folder / "bin"
        (self.root / "locks").mkdir(parents=True)
        (self.root / "cli").mkdir()
        (self.root / "tests").mkdir()
        self.path.mkdir()
        shutil.copy(ROOT / "mosaicfs", self.root)
        (self.root / "cli" / "__main__.py").write_text(
            "import sys, tiny\nprint('cli', *sys.argv[1:])"
        )
        (self.root / "tests" / "run.py").write_text("print('tests')")
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr("tiny.py", "")
            archive.writestr(
                "tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
            )
            archive.writestr(
                "tiny-1.0.dist-info/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            archive.writestr("tiny-1.0.dist-info/RECORD", "")
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        for name in ("build", "runtime", "dev"):
            self.lock(name).write_text(f"{self.wheel} --hash=sha256:{digest}\n")
        for command in COMMANDS:
            (self.path / command).symlink_to(shutil.which(command) or command)
        (self.path / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")

    def lock(self, name: str) -> Path:
        return self.root / "locks" / f"{name}.lock"

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        clean = {"PATH": str(self.path), "HOME": str(self.root.parent), "PIP_NO_INDEX": "1"}
        return subprocess.Popen(
            [self.root / "mosaicfs", *arguments],
            env={**clean, **env},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=WAIT_S)
        return process.returncode, out, err


class Gate:
    """Holds pip back: a pipe in the place of the wheel blocks whoever reads it."""

    def __init__(self, wheel: Path) -> None:
        self.wheel = wheel
        self.real = wheel.rename(wheel.with_suffix(".real"))
        os.mkfifo(wheel)

    def wait(self) -> int:
        """Until pip has opened the pipe; returns the writing end."""
        ends: list[int] = []
        opener = threading.Thread(
            target=lambda: ends.append(os.open(self.wheel, os.O_WRONLY)), daemon=True
        )
        opener.start()
        opener.join(WAIT_S)
        assert ends, "pip never read the wheel"
        return ends[0]

    def open(self, end: int) -> None:
        content = self.real.read_bytes()
        self.real.rename(self.wheel)
        os.write(end, content)
        os.close(end)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.mark.parametrize("shell", [name for name in ("sh", "dash", "bash") if shutil.which(name)])
@pytest.mark.parametrize("script", ["mosaicfs", "deploy/lock", "deploy/nats-start"])
def test_syntax(shell: str, script: str) -> None:
    subprocess.run([shell, "-n", ROOT / script], check=True)


def test_life_of_an_environment(tree: Tree) -> None:
    # Cold: two lines at most of its own, the arguments arrive as they are, the tool is told what to
    # install by hand when it may not do it.
    code, out, err = tree.run("up", "a b")
    assert (code, out) == (0, "cli up a b\n"), err
    assert "please run: sudo apt-get install fuse3" in err
    assert "preparing the Python environment" in err

    # Warm: silent, also through a link and after a move.
    moved = tree.root.rename(tree.root.with_name("moved clone"))
    tree.root = moved
    assert tree.run("up") == (0, "cli up\n", "")
    (tree.path / "mosaicfs").symlink_to(moved / "mosaicfs")
    linked = subprocess.run(
        [tree.path / "mosaicfs", "x"], capture_output=True, text=True, check=True
    )
    assert (linked.stdout, linked.stderr) == ("cli x\n", "")

    # The development lock comes on top; where CI demands a part, a missing one is an error.
    marker = moved / ".venv" / "marker"
    marker.touch()
    code, out, err = tree.run("test", CI="true")
    assert (code, out) == (1, "")
    assert "CI demands these parts, and they are missing: " in err
    assert tree.run("test") == (0, "tests\n", "")
    assert marker.exists()

    # A lock with other content makes a new environment, whatever its time stamp says.
    before = tree.lock("runtime").stat()
    tree.lock("runtime").write_text("# newer\n" + tree.lock("runtime").read_text())
    os.utime(tree.lock("runtime"), ns=(before.st_atime_ns, before.st_mtime_ns))
    code, out, err = tree.run("up")
    assert (code, out) == (0, "cli up\n"), err
    assert not marker.exists()


def test_killed_half_way_then_two_at_once(tree: Tree) -> None:
    gate = Gate(tree.wheel)
    tree.lock("build").write_text("")
    killed = tree.start("up")
    end = gate.wait()
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=WAIT_S)
    assert killed.returncode == -signal.SIGKILL
    assert (tree.root / ".venv" / "bin" / "python").exists()
    os.close(end)

    first = tree.start("one")
    end = gate.wait()
    second = tree.start("two")
    assert second.stderr
    assert "another start is preparing" in second.stderr.readline()
    gate.open(end)
    for process, name in ((first, "one"), (second, "two")):
        out, err = process.communicate(timeout=WAIT_S)
        assert (process.returncode, out) == (0, f"cli {name}\n"), err
    assert "preparing the Python" not in err


@pytest.fixture
def others_tree() -> Iterator[Tree]:
    """In a folder that another user can reach, which tmp_path of root is not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield Tree(path)


def test_unwritable_clone_uses_the_cache(others_tree: Tree) -> None:
    tree = others_tree
    cache = tree.root.parent / "cache"
    cache.mkdir(mode=0o777)
    cache.chmod(0o777)
    tree.root.chmod(0o555)
    command: list[str | Path] = [tree.root / "mosaicfs", "up"]
    if os.geteuid() == 0:
        # Root may write everywhere, so this test becomes somebody else, with the system's Python.
        (tree.path / "python3").unlink()
        (tree.path / "python3").symlink_to("/usr/bin/python3")
        command = [
            shutil.which("setpriv") or "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            *command,
        ]
    env = {"PATH": str(tree.path), "XDG_CACHE_HOME": str(cache), "PIP_NO_INDEX": "1"}
    for expected in (True, False):
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=WAIT_S
        )
        assert (done.returncode, done.stdout) == (0, "cli up\n"), done.stderr
        assert ("preparing the Python environment" in done.stderr) is expected
    assert not (tree.root / ".venv").exists()
    assert [path.name for path in (cache / "mosaicfs").glob("venv-*/bin")] == ["bin"]


def test_no_python(tree: Tree) -> None:
    (tree.path / "python3").unlink()
    code, out, err = tree.run("up")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("mosaicfs: Python 3.11 or newer is needed")


def test_lock_that_cannot_be_installed(tree: Tree) -> None:
    tree.lock("runtime").write_text(f"{tree.wheel} --hash=sha256:{'0' * 64}\n")
    code, out, err = tree.run("up")
    assert (code, out) == (1, "")
    assert "locks/runtime.lock could not be installed" in err
    assert not (tree.root / ".venv" / ".installed" / "runtime.lock").exists()
