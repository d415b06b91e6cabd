"""The lock files: complete, hashed, and free of addresses."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["build", "runtime", "dev"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / "locks" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_a_pin_or_a_hash(lock: str) -> None:
    """So there is no index, no link, no local path and no machine in it."""
    pin = re.compile(r"[a-z0-9.-]+==[^\s@:/]+( ; [\w<>=!'. ()]+)? \\")
    sha = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    for line in (ROOT / "locks" / f"{lock}.lock").read_text().splitlines():
        assert pin.fullmatch(line) or sha.fullmatch(line), line


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("runtime", PROJECT["project"]["dependencies"]),
        ("dev", PROJECT["dependency-groups"]["dev"]),
        ("build", PROJECT["dependency-groups"]["build"]),
    ],
)
def test_a_lock_has_what_pyproject_asks_for(lock: str, wanted: list[str]) -> None:
    names = {re.split(r"[\[<>=!~; ]", line)[0] for line in wanted}
    assert names <= pins(lock).keys(), "run deploy/lock"


def test_locks_agree() -> None:
    runtime, dev = pins("runtime"), pins("dev")
    assert {name: dev[name] for name in dev.keys() & runtime.keys()} == {
        name: runtime[name] for name in dev.keys() & runtime.keys()
    }
