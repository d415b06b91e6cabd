"""Moments: one width, so that text order is time order."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events import clock, moments
from events.moments import moment, unix_ms

disk_times = st.integers(-(2**63), 2**63 - 1)


@given(st.integers(moments.FIRST_MS, moments.LAST_MS))
@example(0)
@example(-1)
@example(moments.FIRST_MS)
@example(moments.LAST_MS)
def test_a_moment_comes_back(ms: int) -> None:
    assert unix_ms(moment(ms)) == ms
    assert len(moment(ms)) == 24


@given(disk_times, disk_times)
@example(-(2**63), moments.FIRST_MS)
@example(moments.LAST_MS, 2**63 - 1)
@example(moments.FIRST_MS - 1, moments.FIRST_MS)
def test_text_order_is_time_order(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert moment(low) <= moment(high)


def test_a_moment_reads_as_people_write_it() -> None:
    assert moment(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
    assert moment(-1) == "1969-12-31T23:59:59.999Z"
    assert moment(2**63 - 1) == "9999-12-31T23:59:59.999Z"
    assert moment(-(2**63)) == "0001-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2023-11-14",
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.123",
        "2023-11-14T22:13:20.123+01:00",
        "2023-11-14T22:13:20.123456Z",
        "20231114T221320.123Z",
        "2023-13-14T22:13:20.123Z",
        "0000-01-01T00:00:00.000Z",
        "2023-11-14T22:13:20.123Z\n",
        "٢٠٢٣-11-14T22:13:20.123Z",
    ],
)
def test_other_texts_are_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match=r"moment|must be|Invalid|range"):
        unix_ms(text)


def test_now_is_between_two_looks_at_the_clock() -> None:
    looks = [clock.now() for _ in range(3)]
    assert looks == sorted(looks)
    assert unix_ms(looks[0]) > 1_700_000_000_000
