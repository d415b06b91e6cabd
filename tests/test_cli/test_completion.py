"""TAB in real shells, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.test_cli.harness import environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.test_cli.harness import Instance


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_and_parses(instance: Instance, shell: str) -> None:
    done = instance.ask("completion", shell)
    assert done.returncode == 0
    assert "_MOSAICFS_COMPLETE" in done.stdout
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=done.stdout, text=True, check=True)


def test_bash_completes_verbs(instance: Instance, tmp_path: Path) -> None:
    program = tmp_path / "mosaicfs"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m cli "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(instance.ask("completion", "bash").stdout)
    words = (
        f"source {tmp_path}/script; COMP_WORDS=(mosaicfs files s) COMP_CWORD=2;"
        f'_mosaicfs_completion {program}; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "-c", words],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["search", "stat"]
