"""Media types by name, the same on every machine."""

from __future__ import annotations

import mimetypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import mime


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.pdf", "application/pdf"),
        ("A.PDF", "application/pdf"),
        ("backup.tar.gz", "application/gzip"),
        ("photo.JPeG", "image/jpeg"),
        ("a.b.md", "text/markdown"),
        ("Makefile", mime.UNKNOWN),
        ("pdf", mime.UNKNOWN),
        ("a.", mime.UNKNOWN),
        (".", mime.UNKNOWN),
        ("", mime.UNKNOWN),
        ("a.pdf ", mime.UNKNOWN),
        ("a.nonsense", mime.UNKNOWN),
    ],
)
def test_the_last_suffix_decides(name: str, kind: str) -> None:
    assert mime.of_name(name) == kind


@given(st.text())
def test_any_name_has_a_type(name: str) -> None:
    assert "/" in mime.of_name(name)


def test_the_table_is_not_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mimetypes.types_map, ".pdf", "application/x-wrong")
    assert mime.of_name("a.pdf") == "application/pdf"


def test_no_suffix_stands_in_the_table_twice() -> None:
    suffixes = [word for line in mime._TABLE.strip().splitlines() for word in line.split()[1:]]
    assert len(suffixes) == len(set(suffixes))
