"""The window against the set that it stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projectors.window import EMPTY, WIDTH, parse

_NUMBERS = st.integers(1, 5000)


@given(st.lists(st.one_of(_NUMBERS, st.integers(1, 20)), max_size=60), _NUMBERS)
def test_knows_what_it_saw_and_forgets_nothing_within_its_width(
    numbers: list[int], asked: int
) -> None:
    window, seen = EMPTY, set[int]()
    for number in numbers:
        assert window.has(number) == (number in seen or number <= window.high - WIDTH)
        if not window.has(number):
            window = window.with_(number)
            seen.add(number)
    high = max(seen, default=0)
    assert window.high == high
    assert window.has(asked) == (asked in seen or asked <= high - WIDTH)


@given(st.lists(_NUMBERS, min_size=1, max_size=60))
def test_stays_within_its_width(numbers: list[int]) -> None:
    window = EMPTY
    for number in numbers:
        if not window.has(number):
            window = window.with_(number)
    assert window.seen.bit_length() <= WIDTH
    assert window.seen & 1


@pytest.mark.parametrize(
    ("message_id", "expected"),
    [
        ("0123456789ab-1", ("0123456789ab", 1)),
        ("ffffffffffff-999999999999999999", ("ffffffffffff", 999_999_999_999_999_999)),
        ("0123456789ab-0", None),
        ("0123456789ab-01", None),
        ("0123456789ab--1", None),
        ("0123456789ab-1\n", None),
        ("0123456789ab-9999999999999999999", None),
        ("0123456789AB-1", None),
        ("0123456789a-1", None),
        ("0123456789ab-٣", None),
        ("9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", None),
        ("", None),
    ],
)
def test_only_ids_of_an_outbox_are_numbered(
    message_id: str, expected: tuple[str, int] | None
) -> None:
    assert parse(message_id) == expected
