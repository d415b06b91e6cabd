"""The wheel: what is in it, and that it works installed."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in place, without build isolation: the locks already hold the build back end."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


def test_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert archive.read("cli/data/nats.conf") == (ROOT / "nats.conf").read_bytes()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    packages = {"events", "projectors", "agent", "gateway", "vfs", "plugins", "cli"}
    assert tops == {name for name in packages if (ROOT / name / "__init__.py").is_file()}
    assert not [name for name in names if "__pycache__" in name]


def test_installed(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, which borrows only the third-party packages of this one."""
    env = tmp_path / "env"
    run(sys.executable, "-m", "venv", "--without-pip", env, cwd=tmp_path)
    python = env / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    run(*pip, "--no-deps", "--no-index", wheel, cwd=tmp_path)
    (site,) = env.glob("lib/python3.*/site-packages")
    # A path line borrows the folder but not its own path lines, so the clone stays out of reach.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + os.linesep)

    where = run(python, "-P", "-c", "import events; print(events.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(site)
    code = "from importlib.resources import files; print(files('cli').joinpath('data/nats.conf'))"
    assert Path(run(python, "-P", "-c", code, cwd=tmp_path).strip()).is_file()
    assert "Usage" in run(env / "bin" / "mosaicfs", "--help", cwd=tmp_path)
