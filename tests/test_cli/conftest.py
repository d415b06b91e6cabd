"""Instances of MosaicFS: one for each test that disturbs it, one for all that only look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.test_cli.harness import Instance, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Legal names that would do harm on a terminal or in a table, and one that is not UTF-8.
HOSTILE = (
    b"new\nline.txt",
    b"\x1b[31mred\x1b[0m \x1b]0;title\x07.txt",
    "reversed\u202egpj.exe".encode(),
    b"not utf-8 \xff\xfe.txt",
    b"tab\tand\rreturn.txt",
)
PLAIN = ("report.pdf", "notes.txt", "deep/er/photo.png")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """Nothing runs in it yet."""
    made = Instance(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One that runs, with a few files in its view; shared, so tests must leave it as it is."""
    made = Instance(tmp_path_factory.mktemp("running"))
    for name in PLAIN:
        path = made.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    for raw in HOSTILE:
        (made.files / raw.decode(errors="surrogateescape")).write_bytes(b"boo")
    made.up()
    count = len(PLAIN) + len(HOSTILE)
    wait_until(
        lambda: len(made.ask("files", "list", "--json").stdout.splitlines()) == count,
        "all files are in the view",
    )
    yield made
    made.close()
