"""Labels, direct and by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.test_gateway.test_files import found, pages
from tests.test_gateway.world import ALPHA, BETA, World

if TYPE_CHECKING:
    import httpx


def rule(word: str, **changes: object) -> dict[str, Any]:
    return {"name": word, "node": ALPHA, "path_prefix": f"/{word}/", "labels": [word], **changes}


def test_direct_labels(world: World, api: httpx.Client, word: str) -> None:
    path = f"/l/{word}"
    id = world.files(ALPHA, [path])[path]
    address = f"/api/labels/assignments/{id}"
    assert api.get(address).status_code == 404
    answer = api.put(address, json={"labels": [word, "work"]})
    assert answer.status_code == 200
    written = answer.json()
    assert written["stream"] == "CATALOG"
    one = api.get(address)
    assert one.json()["labels"] == sorted([word, "work"])
    assert one.headers["etag"] == f'"{written["rev"]}"'
    assert {"label": word, "files": 1, "rules": 0} in api.get("/api/labels").json()["labels"]
    every = pages(api, "/api/labels/assignments", "assignments", limit=1)
    assert id in [each["file_id"] for each in every]
    assert found(api, q=word, label=word) == [word]
    assert found(api, q=word, label="other") == []
    gone = api.delete(address, headers={"if-match": one.headers["etag"]})
    assert (gone.status_code, gone.json()["rev"]) == (200, None)
    assert api.get(address).status_code == 404
    assert api.delete(address).status_code == 404
    again = api.put(address, json={"labels": [word]}).json()
    assert again["rev"].startswith("3-")


def test_labels_by_rule(world: World, api: httpx.Client, word: str) -> None:
    inside, deep, beside = f"/{word}/x-{word}", f"/{word}/a/y-{word}", f"/{word}s/z-{word}"
    ids = world.files(ALPHA, [inside, deep, beside])
    world.files(BETA, [inside])
    made = api.post("/api/labels/rules", json=rule(word))
    assert made.status_code == 201
    address = made.headers["location"]
    id = address.rpartition("/")[2]
    assert api.get(address).json()["labels"] == [word]
    assert id in [each["id"] for each in api.get("/api/labels/rules").json()["rules"]]
    assert sorted(found(api, q=word, label=word)) == sorted([f"x-{word}", f"y-{word}"])
    api.put(f"/api/labels/assignments/{ids[inside]}", json={"labels": ["zebra", word]})
    effective = api.get("/api/labels/effective", params={"file": ids[inside]}).json()
    assert effective == {
        "file_id": ids[inside],
        "labels": sorted([word, "zebra"]),
        "direct": sorted([word, "zebra"]),
        "by_rule": {word: [id]},
    }
    outside = api.get("/api/labels/effective", params={"file": ids[beside]}).json()
    assert outside["labels"] == []
    # For every node, then for none.
    wide = api.put(address, json=rule(word, node="*"))
    assert wide.status_code == 200, wide.text
    assert len(found(api, q=word, label=word)) == 3
    assert found(api, q=word, label=word, node=BETA) == [f"x-{word}"]
    api.put(address, json=rule(word, enabled=False))
    assert found(api, q=word, label=word) == [f"x-{word}"]
    assert api.delete(address).status_code == 200
    assert api.get(address).status_code == 404
    assert api.put(address, json=rule(word)).status_code == 404


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"path_prefix": "/no-slash-behind"}, "bad_prefix"),
        ({"path_prefix": "relative/"}, "invalid"),
        ({"node": "Not A Node"}, "bad_node"),
        ({"labels": []}, "bad_label"),
        ({"labels": ["a,b"]}, "bad_label"),
        ({"labels": [" a"]}, "bad_label"),
        ({"labels": ["a\n"]}, "bad_label"),
        ({"labels": ["a", "a"]}, "bad_label"),
        ({"labels": "a"}, "invalid"),
        ({"labels": ["x"] * 101}, "invalid"),
        ({"name": ""}, "invalid"),
        ({"enabled": "yes"}, "invalid"),
        ({"more": 1}, "invalid"),
    ],
)
def test_rules_that_cannot_be(
    api: httpx.Client, word: str, changes: dict[str, Any], code: str
) -> None:
    answer = api.post("/api/labels/rules", json=rule(word, **changes))
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize("file", ["x", "018bcfe5-6800-7000-94d6-000000000000"])
def test_labels_of_no_file(api: httpx.Client, file: str) -> None:
    address = f"/api/labels/assignments/{file}"
    assert api.put(address, json={"labels": ["a"]}).status_code == 404
    assert api.get("/api/labels/effective", params={"file": file}).status_code == 404
