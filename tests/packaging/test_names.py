"""The plain package names (`events`, `cli`, ...) are ours alone, and the layers are declared."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAMES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
PRESENT = [name for name in NAMES if (ROOT / name / "__init__.py").is_file()]

# Core publishes that are not appends. Whoever adds a line here explains why the message is not an
# event, or why it may reach a stream past events/append.py.
MAY_PUBLISH = {
    "events/append.py": "the one writer",
    "events/consume.py": "pull requests and acknowledgements",
    "projectors/snapshots.py": "the Object Store, which is not the log",
}
PUBLISHING = {"publish", "publish_async", "publish_msg", "jetstream"}


def test_names_resolve_inside_the_repository(tmp_path: Path) -> None:
    """In a process like the launcher's (-P, the folder of somebody else)."""
    code = "import sys\nfor name in sys.argv[1:]: print(__import__(name).__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *PRESENT],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert [Path(line) for line in done.stdout.splitlines()] == [
        ROOT / name / "__init__.py" for name in PRESENT
    ]


def test_no_other_distribution_claims_a_name() -> None:
    claims = {
        f"{distribution.name}: {path}"
        for distribution in distributions()
        if distribution.name != "mosaicfs"
        for path in distribution.files or ()
        if path.parts[0].removesuffix(".py") in NAMES
    }
    assert not claims


def test_no_test_folder_bears_a_package_name() -> None:
    """With importlib mode `tests/events` would still read as `events` to people and to tools."""
    tests = ROOT / "tests"
    folders = {part for path in tests.rglob("*.py") for part in path.relative_to(tests).parts[:-1]}
    assert not folders & set(NAMES)


def test_every_package_is_under_the_layer_contract() -> None:
    assert set(PRESENT) == set(PROJECT["tool"]["importlinter"]["root_packages"])


def test_only_append_publishes() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{node.lineno} calls {node.func.attr}()"
        for name in PRESENT
        for path in (ROOT / name).rglob("*.py")
        if str(path.relative_to(ROOT)) not in MAY_PUBLISH
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in PUBLISHING
    }
    assert not found


def test_exceptions_for_publishing_are_alive() -> None:
    assert all((ROOT / path).is_file() for path in MAY_PUBLISH)
