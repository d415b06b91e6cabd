"""Debounce, storms and schedules, with clocks that the test turns."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.debounce import MAX_WAIT_S, SLACK_S, Debounce, Storm
from agent.schedule import Jumps, last_due


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 2, allow_nan=False)), max_size=40))
def test_every_change_is_acted_on_after_its_rest(changes: list[tuple[str, float]]) -> None:
    debounce = Debounce(0.5)
    now = 0.0
    last: dict[str, float] = {}
    first: dict[str, float] = {}
    for path, pause in [*changes, ("end", 100.0)]:
        while len(debounce) and debounce.next_due() <= now + pause:
            due = debounce.next_due()
            taken = debounce.due(due)
            assert taken
            for each in taken:
                rested = due - last.pop(each) >= 0.5 - SLACK_S - 1e-9
                waited = due - first.pop(each) >= MAX_WAIT_S - SLACK_S - 1e-9
                assert rested or waited
        now += pause
        debounce.note(path, now)
        last[path] = now
        first.setdefault(path, now)
        assert now - first[path] <= MAX_WAIT_S + 1e-9
    assert set(last) == {"end"}


def test_both_halves_of_a_move_come_together() -> None:
    debounce = Debounce(0.5)
    debounce.note("from", 1.0)
    debounce.note("to", 1.0001)
    assert debounce.due(1.49) == []
    assert sorted(debounce.due(1.5)) == ["from", "to"]


def test_a_storm_needs_five_busy_seconds_and_one_calm_one() -> None:
    storm = Storm()
    for second in range(10, 16):
        assert not storm.raging
        storm.note(1001, second + 0.5)
    storm.note(0, 16.0)
    assert storm.raging
    storm.note(5000, 16.5)
    storm.note(3, 17.5)
    assert storm.raging
    storm.note(0, 18.5)
    assert not storm.raging


def test_a_storm_with_pauses_is_none() -> None:
    storm = Storm()
    for second in range(0, 40, 2):
        storm.note(5000, float(second))
    assert not storm.raging


@given(
    st.datetimes(timezones=st.just(UTC)).filter(lambda now: now.year > 1),
    st.times(),
)
def test_the_last_due_moment_is_within_a_day(now: datetime, at: time) -> None:
    text = f"{at:%H:%M}"
    due = last_due(now, text)
    assert f"{due:%H:%M}" == text
    assert timedelta() <= now - due < timedelta(days=1)


def test_jumps_of_the_clock() -> None:
    jumps = Jumps(1000.0, 5.0)
    assert not jumps.jumped(1010.0, 15.0)
    # A slow drift is none; two minutes at once are one, either way.
    assert not jumps.jumped(1130.0, 16.0)
    assert jumps.jumped(5000.0, 17.0)
    assert not jumps.jumped(5001.0, 18.0)
    assert jumps.jumped(10.0, 19.0)
