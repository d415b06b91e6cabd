"""Virtual directories, and concurrent edits of a document."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_gateway.world import ALPHA, Gateway

if TYPE_CHECKING:
    import httpx

DIRECTORIES = "/api/vfs/directories"


def create(api: httpx.Client, path: str, **body: object) -> str:
    answer = api.post(DIRECTORIES, json={"virtual_path": path, **body})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def test_a_directory_from_beginning_to_end(api: httpx.Client, word: str) -> None:
    source = {
        "node": ALPHA,
        "path": "/home",
        "steps": [{"op": "glob", "pattern": "*.pdf", "on_match": "include"}],
    }
    address = create(api, f"/{word}", mounts=[source])
    one = api.get(address)
    directory = one.json()
    assert directory["virtual_path"] == f"/{word}"
    assert directory["mounts"][0]["steps"][0]["pattern"] == "*.pdf"
    assert directory["mounts"][0]["id"]
    assert api.get(DIRECTORIES, params={"path": f"/{word}"}).json()["directories"] == [directory]
    assert directory in api.get(DIRECTORIES).json()["directories"]
    twice = api.post(DIRECTORIES, json={"virtual_path": f"/{word}"})
    assert (twice.status_code, twice.json()["code"]) == (409, "exists")
    edited = api.patch(address, json={"enforce_steps_on_children": True})
    assert edited.status_code == 200
    after = api.get(address).json()
    assert after["enforce_steps_on_children"] is True
    assert after["mounts"] == directory["mounts"]
    assert after["rev"] == edited.json()["rev"] != directory["rev"]
    create(api, f"/{word}/below")
    full = api.delete(address)
    assert (full.status_code, full.json()["code"]) == (409, "not_empty")
    assert api.delete(address, params={"cascade": True}).status_code == 200
    assert api.get(address).status_code == 404
    assert api.patch(address, json={}).status_code == 404
    assert api.get(DIRECTORIES, params={"path": f"/{word}"}).json()["directories"] == []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("no-slash", 422, "invalid"),
        ("/a//b", 422, "bad_path"),
        ("/a/../b", 422, "bad_path"),
        ("/a/", 422, "bad_path"),
        ("/a\0", 422, "bad_path"),
        ("/" + "a" * 256, 422, "bad_path"),
        ("/" + "a/" * 3000, 422, "invalid"),
        ("/federation/x", 422, "reserved_path"),
        ("/no/parent/here", 409, "no_parent"),
    ],
)
def test_paths_that_cannot_be(api: httpx.Client, path: str, status: int, code: str) -> None:
    answer = api.post(DIRECTORIES, json={"virtual_path": path})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "mount",
    [
        {"node": "NOT", "path": "/x"},
        {"node": ALPHA, "path": "x"},
        {"node": ALPHA, "path": "/x\0"},
        {"node": ALPHA, "path": "/x", "strategy": "magic"},
        {"node": ALPHA, "path": "/x", "steps": [{"op": "nothing"}]},
        {"node": ALPHA, "path": "/x", "steps": [{"op": "glob"}]},
        {"node": ALPHA, "path": "/x", "steps": [{"op": "glob", "pattern": "a", "z": 1}]},
        {"path": "/x"},
    ],
)
def test_mounts_that_cannot_be(api: httpx.Client, word: str, mount: dict[str, Any]) -> None:
    answer = api.post(DIRECTORIES, json={"virtual_path": f"/{word}", "mounts": [mount]})
    assert answer.status_code == 422, answer.text


def test_of_edits_of_one_revision_one_comes_through(
    gateway: Gateway, token: str, api: httpx.Client, word: str
) -> None:
    address = create(api, f"/{word}")
    rev = api.get(address).headers["etag"]

    def edit(pattern: str) -> httpx.Response:
        with gateway.client(token) as client:
            steps = [{"op": "glob", "pattern": pattern}]
            return client.patch(address, json={"steps": steps}, headers={"if-match": rev})

    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(edit, ["a", "b"]))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    refused = next(answer for answer in answers if answer.status_code == 409).json()
    present = api.get(address).json()
    assert refused["code"] == "conflict"
    assert refused["rev"] == present["rev"]
    assert refused["id"] == f"dir::{present['id']}"
    assert present["rev"].startswith("2-")


def test_if_match(api: httpx.Client, word: str) -> None:
    address = create(api, f"/{word}")
    one = api.get(address)

    def edit(given: str) -> int:
        body = {"steps": [{"op": "glob", "pattern": given}]}
        return api.patch(address, json=body, headers={"if-match": given}).status_code

    assert edit("no quotes") == 400
    assert edit('"a", "b"') == 400
    assert edit('"1-00000000000000000000000000000000"') == 409
    assert edit('"2-x"') == 409
    assert edit(one.headers["etag"]) == 200
    assert edit(one.headers["etag"]) == 409
    assert edit(f"W/{api.get(address).headers['etag']}") == 200
    assert edit("*") == 200
    old = api.delete(address, headers={"if-match": one.headers["etag"]})
    assert (old.status_code, old.json()["code"]) == (409, "conflict")
    assert api.delete(address, headers={"if-match": api.get(address).headers["etag"]}).is_success


def test_the_root_stays(api: httpx.Client) -> None:
    if api.get(f"{DIRECTORIES}/root").status_code == 404:
        assert create(api, "/") == f"{DIRECTORIES}/root"
    answer = api.delete(f"{DIRECTORIES}/root", params={"cascade": True})
    assert (answer.status_code, answer.json()["code"]) == (403, "system_directory")
