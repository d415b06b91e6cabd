"""How values are written for people."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import text


@given(st.text())
def test_safe_is_one_harmless_line(name: str) -> None:
    shown = text.safe(name)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    shown.encode()


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))))
def test_safe_leaves_harmless_names_alone(name: str) -> None:
    assert text.safe(name) == name


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1_400_000, "1.4 MB"),
        (2**63 - 1, "9.2 EB"),
    ],
)
def test_size(count: int, shown: str) -> None:
    assert text.size(count) == shown


@given(st.integers(0, 2**63 - 1))
def test_size_is_short(count: int) -> None:
    assert len(text.size(count)) <= 7


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 m"),
        (200, "3 m 20 s"),
        (7200, "2 h"),
        (190_000, "2 d 4 h"),
    ],
)
def test_span(seconds: float, shown: str) -> None:
    assert text.span(seconds) == shown


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_time_that_a_disk_may_hold_has_a_form(ns: int) -> None:
    assert text.local(ns)
    assert text.iso(ns).endswith("Z")


def test_since() -> None:
    now = time.time()
    assert text.since("10m", now) == int((now - 600) * 1_000_000_000)
    assert text.since("1970-01-01T00:00:01Z", now) == 1_000_000_000
    assert text.since("1970-01-02T00:00:00+00:00", now) == 86_400_000_000_000
    for wrong in ("", "10", "soon", "10 parsecs"):
        with pytest.raises(ValueError, match=r".*"):
            text.since(wrong, now)
