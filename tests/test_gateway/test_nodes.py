"""Nodes and their mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.clock import now
from events.codec import encode
from events.ids import new_uuid
from events.vocabulary.nodes import NodeOnline
from tests.test_gateway.world import BETA, World

if TYPE_CHECKING:
    import httpx


@pytest.fixture
def node(world: World, word: str) -> str:
    """A node of this test's own."""
    world.node(word)
    return word


def test_a_node_says_what_it_is(api: httpx.Client, node: str) -> None:
    one = api.get(f"/api/nodes/{node}").json()
    assert (one["id"], one["name"], one["status"]) == (node, node, "online")
    assert one["watch_paths"] == ["/home"]
    assert one["storage"][0]["capacity"] == 9
    assert one in api.get("/api/nodes").json()["nodes"]
    state = api.get(f"/api/nodes/{node}/status").json()
    assert state["subsystems"] == [{"name": "watch", "state": "ok"}]


@pytest.mark.parametrize("path", ["", "/status", "/mounts", "/mounts/x"])
@pytest.mark.parametrize("id", ["nobody-1", "NOT", "a%00b", "%ff"])
def test_no_such_node(api: httpx.Client, id: str, path: str) -> None:
    assert api.get(f"/api/nodes/{id}{path}").status_code in (400, 404)


def test_a_node_is_named_disabled_and_enabled(world: World, api: httpx.Client, node: str) -> None:
    address = f"/api/nodes/{node}"
    named = api.patch(address, json={"name": "Büro"})
    assert named.status_code == 200, named.text
    assert api.get(address).json()["name"] == "Büro"
    off = api.delete(address)
    assert off.status_code == 200
    one = api.get(address).json()
    assert (one["disabled"], one["name"]) == (True, "Büro")
    assert one["configured_rev"] == off.json()["rev"]
    assert api.patch(address, json={"disabled": False, "name": None}).status_code == 200
    one = api.get(address).json()
    assert (one["disabled"], one["name"]) == (False, node)
    # What the machine says meanwhile is no conflict with what people configure.
    rev = one["configured_rev"]
    online = NodeOnline(v=3)
    world.publish(encode(online, node, time=now(), actor=node, id=new_uuid()))
    ok = api.patch(address, json={"name": "x"}, headers={"if-match": f'"{rev}"'})
    assert ok.status_code == 200
    stale = api.patch(address, json={"name": "y"}, headers={"if-match": f'"{rev}"'})
    assert stale.status_code == 409
    assert stale.json()["rev"] == ok.json()["rev"]


@pytest.mark.parametrize(
    "body", [{"name": ""}, {"name": "a" * 101}, {"disabled": 1}, {"more": 1}, [], "x"]
)
def test_patches_that_cannot_be(api: httpx.Client, body: object) -> None:
    assert api.patch(f"/api/nodes/{BETA}", json=body).status_code == 422


def test_mounts(api: httpx.Client, node: str) -> None:
    address = f"/api/nodes/{node}/mounts"
    assert api.get(address).json() == {"mounts": []}
    mount = {
        "remote_node": BETA,
        "remote_path": "/srv",
        "local_path": "/mnt/beta",
        "mount_type": "nfs",
    }
    made = api.post(address, json=mount)
    assert made.status_code == 201, made.text
    where = made.headers["location"]
    one = api.get(where).json()
    assert {**mount, "mount_id": where.rpartition("/")[2]} == {
        name: value for name, value in one.items() if name != "priority"
    }
    assert api.put(where, json={**mount, "priority": 3}).status_code == 200
    assert api.get(where).json()["priority"] == 3
    api.patch(f"/api/nodes/{node}", json={"name": "other"})
    assert len(api.get(address).json()["mounts"]) == 1
    assert api.delete(where).status_code == 200
    assert api.get(where).status_code == 404
    assert api.put(where, json=mount).status_code == 404
    assert api.delete(where).status_code == 404
    for wrong in ({"mount_type": "ftp"}, {"local_path": "x"}, {"local_path": "/\0"}, {"z": 1}):
        assert api.post(address, json={**mount, **wrong}).status_code == 422
