"""Nothing but real processes: nats-server, projector, two gateways, PouchDB."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.test_couch.node import Pouch
from tests.test_gateway.world import ALPHA, World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.nats
def test_a_live_pull_and_its_move_to_another_gateway(tmp_path: Path) -> None:
    with World(tmp_path / "world") as world:
        world.node(ALPHA)
        world.files(ALPHA, [f"/home/{i}.txt" for i in range(700)])
        first, second = world.gateway(), world.gateway()
        token = first.login()
        pouch = Pouch(tmp_path / "pouch")
        try:
            here = {"url": f"{first.base}/db/mosaic", "token": token}
            pouch.ask("live", name="a", **here)

            def has(doc: str) -> bool:
                return doc in pouch.ask("everything", name="a")

            wait_until(lambda: len(pouch.ask("everything", name="a")) >= 702, "all is there")
            (new,) = world.files(ALPHA, ["/home/new.txt"]).values()
            began = time.monotonic()
            wait_until(lambda: has(f"file::{new}"), "the change is there")
            assert time.monotonic() - began < 5.0
            # Its long-poll is open, and is answered: the gateway need not wait for it.
            began = time.monotonic()
            assert first.stop() == 0
            assert time.monotonic() - began < 10.0
            pouch.ask("stop", name="a")
            world.files(ALPHA, ["/home/later.txt"])
            there = {"url": f"{second.base}/db/mosaic", "token": second.login()}
            moved = pouch.ask("pull", name="a", **there)
            assert moved["written"] == 1
            with second.client(there["token"]) as client:
                info = client.get("/db/mosaic").json()
                asked = {"selector": {"name": "later.txt"}}
                taken = []
                for _ in range(5):
                    began = time.monotonic()
                    found = client.post("/db/mosaic/_find", json=asked).json()
                    taken.append(time.monotonic() - began)
                    assert len(found["docs"]) == 1
                print(f"find: {min(taken) * 1000:.1f} ms")  # noqa: T201  # the figure
            assert info["doc_count"] == len(pouch.ask("everything", name="a"))
        finally:
            pouch.close()
