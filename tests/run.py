"""`./mosaicfs test`: linters, types, layer contracts, then the tests, with one line per stage.

Started by the launcher, in the repository's root folder and inside the environment with the
development lock. What it does not know itself goes on to pytest.
"""

import argparse
import subprocess
import sys
import time
import tomllib
from pathlib import Path

PYTHON = [sys.executable, "-P"]
# `python -m` and `-c` instead of console scripts: their first line breaks when a clone is moved.
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def typed_folders() -> list[str]:
    """The folders that mypy checks: the project's packages, as far as they exist, and the tests."""
    project = tomllib.loads(Path("pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return [name for name in [*packages, "tests", "benchmarks"] if any(Path(name).rglob("*.py"))]


def stages(pytest_args: list[str], *, slow: bool) -> dict[str, list[str]]:
    # Two workers: what CI has. Slow tests measure and kill things, so they run alone.
    selection = ["-m", "slow"] if slow else ["-n", "2", "-m", "not slow"]
    every = {
        "ruff check": [*PYTHON, "-m", "ruff", "check", "."],
        "ruff format": [*PYTHON, "-m", "ruff", "format", "--check", "."],
        "mypy": [*PYTHON, "-m", "mypy", *typed_folders()],
        "lint-imports": [*PYTHON, "-c", LINT_IMPORTS],
        "pytest": [*PYTHON, "-m", "pytest", *selection, *pytest_args],
    }
    return {"pytest": every["pytest"]} if slow else every


def run(name: str, command: list[str]) -> bool:
    """Runs one stage. The linters speak only when they fail; pytest speaks for itself."""
    began = time.monotonic()
    loud = name == "pytest"
    done = subprocess.run(
        command,
        check=False,
        text=True,
        stdout=None if loud else subprocess.PIPE,
        stderr=None if loud else subprocess.STDOUT,
    )
    passed = done.returncode == 0
    if not loud:
        if not passed:
            print(done.stdout, end="")
        seconds = time.monotonic() - began
        print(f"{name:<13} {'ok' if passed else 'FAILED'}  {seconds:.1f} s", flush=True)
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="mosaicfs test",
        description="Run all checks and tests. Other arguments go to pytest.",
        allow_abbrev=False,
    )
    parser.add_argument("--slow", action="store_true", help="only the tests marked slow")
    parser.add_argument(
        "--only",
        action="append",
        metavar="STAGE",
        help="only this stage: ruff check, ruff format, mypy, lint-imports or pytest (repeatable)",
    )
    options, pytest_args = parser.parse_known_args()
    chosen = stages(pytest_args, slow=options.slow)
    if options.only:
        unknown = set(options.only) - chosen.keys()
        if unknown:
            parser.error(
                f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(chosen)}"
            )
        chosen = {name: command for name, command in chosen.items() if name in options.only}
    failed = [name for name, command in chosen.items() if not run(name, command)]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
