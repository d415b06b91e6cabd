"""Which file is it: the pure rules, with drawn files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.diff import Candidate, Place, Verdict, clamped, identify, unchanged
from agent.state import Row

SMALL = st.integers(0, 2)
NAMES = st.sampled_from(["a", "b"])
SIGHTINGS = st.tuples(NAMES, SMALL, SMALL, SMALL)


def _row(id: int, folder: int, seen: tuple[str, int, int, int], deleted: int) -> Row:
    return Row(id, b"u" * 16, 1000 + id, folder, *seen, 1, deleted)


ROWS = st.builds(_row, st.integers(1, 9), SMALL, SIGHTINGS, SMALL)
CANDIDATES = st.lists(
    st.builds(Candidate, ROWS, SMALL, st.just("/f")), unique_by=lambda each: each.row.id
)


@given(SIGHTINGS, CANDIDATES, st.none() | ROWS, st.sets(st.integers(1, 9)))
def test_an_inode_that_matches_in_all_wins(
    seen: tuple[str, int, int, int],
    candidates: list[Candidate],
    here: Row | None,
    vacant: set[int],
) -> None:
    verdict, which = identify(
        seen,
        1,
        0,
        candidates,
        here,
        lambda each: Place.VACANT if each.row.id in vacant else Place.TAKEN,
    )

    matching = [
        each
        for each in candidates
        if seen[3] and (each.row[5:8], each.dev) == (seen[1:], 1)
        if each.row.deleted or each.row.id in vacant
    ]
    if matching:
        row = which.row if isinstance(which, Candidate) else which
        assert row in [each.row for each in matching]
        assert verdict is not Verdict.INDEXED
    elif here is not None:
        assert (verdict, which) == (Verdict.RESTORED, here)
    else:
        assert (verdict, which) == (Verdict.INDEXED, None)


@given(SIGHTINGS, CANDIDATES)
def test_a_hard_link_is_a_file_of_its_own(
    seen: tuple[str, int, int, int], candidates: list[Candidate]
) -> None:
    living = [each for each in candidates if not each.row.deleted]
    verdict, which = identify(seen, 1, 0, living, None, lambda _: Place.TAKEN)
    assert (verdict, which) == (Verdict.INDEXED, None)


def test_a_file_that_went_back_home_is_not_two() -> None:
    seen = ("n", 1, 1, 7)
    candidate = Candidate(_row(1, 5, seen, deleted=0), 1, "/f")
    found = identify(seen, 1, 0, [candidate], None, lambda _: Place.HOME)
    assert found == (Verdict.HOME, candidate)


def test_of_two_deleted_the_last_one_comes_back() -> None:
    seen = ("n", 1, 1, 7)
    old, new = (Candidate(_row(id, 5, seen, deleted=id), 1, "/f") for id in (1, 2))
    assert identify(seen, 1, 0, [old, new], None, lambda _: Place.VACANT) == (Verdict.RENAMED, new)


@given(SIGHTINGS, SIGHTINGS)
def test_unchanged_means_size_time_and_inode(
    before: tuple[str, int, int, int], now: tuple[str, int, int, int]
) -> None:
    row = _row(1, 0, before, 0)
    same_inode = before[3] == now[3] or 0 in (before[3], now[3])
    assert unchanged(row, now) == (before[1:3] == now[1:3] and same_inode)


@given(st.integers(0, 1 << 70), st.integers(-(1 << 80), 1 << 80), st.integers(0, (1 << 64) - 1))
def test_clamped_fits_sqlite_and_is_stable(size: int, mtime: int, ino: int) -> None:
    seen = clamped(("n", size, mtime, ino))
    assert all(-(1 << 63) <= number < 1 << 63 for number in seen[1:])
    assert clamped(seen) == seen
    assert (seen[3] == 0) == (ino == 0)
