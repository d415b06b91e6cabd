"""Waiting between attempts: bounds, growth and jitter."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from events import retry
from events.retry import Backoff


@given(st.integers(), st.floats(0.01, 10), st.floats(10, 100), st.integers(1, 80))
def test_a_delay_is_doubled_up_to_the_cap_give_or_take_a_quarter(
    seed: int, first: float, cap: float, attempts: int
) -> None:
    backoff = Backoff(first, cap, random.Random(seed))
    for attempt in range(attempts):
        plain = min(cap, first * 2 ** min(attempt, 32))
        assert 0.75 * plain <= backoff.next() <= 1.25 * plain


def test_failures_by_the_thousand_do_not_overflow() -> None:
    backoff = Backoff()
    delays = [backoff.next() for _ in range(3000)]
    assert max(delays) <= retry.CAP * (1 + retry.JITTER)
    assert backoff.failures == 3000


def test_a_success_starts_over() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= retry.FIRST * (1 + retry.JITTER)


def test_a_crowd_does_not_come_back_in_step() -> None:
    delays = {round(Backoff().next(), 6) for _ in range(20)}
    assert len(delays) > 15
