"""The store of `_local` documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.couch import local
from gateway.couch.answers import CouchError
from gateway.couch.local import Local

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Local]:
    store = Local(tmp_path / "local.db", clock)
    yield store
    store.close()


def test_it_survives(tmp_path: Path, store: Local, clock: Clock) -> None:
    store.put("mosaic", "ann", "x", {"_id": "_local/x", "a": 1})
    again = Local(tmp_path / "local.db", clock)
    assert again.get("mosaic", "ann", "x") == {"_id": "_local/x", "_rev": "0-1", "a": 1}
    again.close()


def test_the_untouched_are_forgotten(store: Local, clock: Clock) -> None:
    for id in ("read", "idle"):
        store.put("mosaic", "ann", id, {})
    clock.now += local.KEPT_S - 10
    assert store.get("mosaic", "ann", "read")
    clock.now += 7200
    assert store.get("mosaic", "ann", "read")
    assert store.get("mosaic", "ann", "idle") is None
    # Its writer knows the revision still, and may go on with it.
    assert store.put("mosaic", "ann", "idle", {"_rev": "0-1"}) == "0-1"


def test_the_oldest_makes_room(store: Local, clock: Clock) -> None:
    store.put("mosaic", "bob", "mine", {})
    for number in range(local.MOST + 5):
        clock.now += 1
        store.put("mosaic" if number % 2 else "ops", "ann", str(number), {})
    kept = [
        number
        for number in range(local.MOST + 5)
        if store.get("mosaic" if number % 2 else "ops", "ann", str(number))
    ]
    assert kept == list(range(5, local.MOST + 5))
    assert store.get("mosaic", "bob", "mine")


def test_a_conflict_is_a_conflict(store: Local) -> None:
    store.put("mosaic", "ann", "x", {})
    for rev in (None, "0-0", "0-2", "1-a"):
        with pytest.raises(CouchError) as wrong:
            store.put("mosaic", "ann", "x", {"_rev": rev})
        assert wrong.value.status == 409
    with pytest.raises(CouchError) as wrong:
        store.delete("mosaic", "ann", "y", "0-1")
    assert wrong.value.status == 404
