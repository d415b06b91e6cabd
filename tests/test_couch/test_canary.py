"""A secret document appears nowhere: neither its id nor its content, under any question."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.test_couch.test_docs import paths
from tests.test_couch.world import SECRET, Gateway

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

SECRET_IDS: Final = (
    f"credential::MOSAICFS_{SECRET}",
    f"user::{SECRET}",
    f"setting::{SECRET}",
)
CONTENTS: Final = tuple(f"{part}-{SECRET}" for part in ("hash", "box", "nonce", "key"))
ANY: Final = {"_id": {"$gt": None}}
CURIOUS: Final = [
    ANY,
    {},
    {"type": {"$in": ["user", "credential", "setting", "utilization_snapshot"]}},
    {"password_hash": {"$beginsWith": "hash"}},
    {"$or": [{"secret_hash": {"$exists": True}}, {"secrets": {"$exists": True}}]},
    {"secrets.key.box": {"$regex": "c4nary"}},
    {"name": SECRET},
]

# For every path of the API, what to ask there: method, query, body.
QUESTIONS: Final[dict[str, list[tuple[str, dict[str, Any], Any]]]] = {
    "/db/": [("GET", {}, None)],
    "/db/_all_dbs": [("GET", {}, None)],
    "/db/_session": [("GET", {}, None)],
    "/db/_up": [("GET", {}, None)],
    "/db/_uuids": [("GET", {}, None)],
    "/db/_utils/": [("GET", {}, None)],
    "/db/_utils/{path:path}": [("GET", {}, None)],
    "/db/{db}/": [("GET", {}, None), ("POST", {}, {}), ("PUT", {}, None), ("DELETE", {}, None)],
    "/db/{db}/_all_docs": [
        ("GET", {"include_docs": "true"}, None),
        ("GET", {"include_docs": "true", "descending": "true"}, None),
        ("GET", {"startkey": '"cred"', "endkey": '"usez"'}, None),
        ("POST", {"include_docs": "true"}, {"keys": [*SECRET_IDS]}),
    ],
    "/db/{db}/_bulk_docs": [("POST", {}, {"docs": [{"_id": "a"}]})],
    "/db/{db}/_bulk_get": [("POST", {"revs": "true"}, {"docs": [{"id": id} for id in SECRET_IDS]})],
    "/db/{db}/_changes": [
        ("GET", {"include_docs": "true"}, None),
        ("GET", {"include_docs": "true", "descending": "true"}, None),
        ("GET", {"include_docs": "true", "feed": "continuous", "timeout": "0"}, None),
        ("GET", {"include_docs": "true", "feed": "eventsource", "timeout": "0"}, None),
        ("GET", {"include_docs": "true", "feed": "longpoll"}, None),
        ("POST", {"filter": "_doc_ids", "include_docs": "true"}, {"doc_ids": [*SECRET_IDS]}),
        *(
            ("POST", {"filter": "_selector", "include_docs": "true"}, {"selector": each})
            for each in CURIOUS
        ),
        ("GET", {"filter": "_view", "view": "labels/by_label", "include_docs": "true"}, None),
    ],
    "/db/{db}/_ensure_full_commit": [("POST", {}, None)],
    "/db/{db}/_explain": [("POST", {}, {"selector": ANY})],
    "/db/{db}/_find": [
        *(("POST", {}, {"selector": each, "limit": 10_000}) for each in CURIOUS),
        *(("POST", {}, {"selector": each, "sort": ["name"]}) for each in CURIOUS),
        ("POST", {}, {"selector": ANY, "fields": ["secrets", "password_hash", "settings"]}),
    ],
    "/db/{db}/_index": [("GET", {}, None)],
    "/db/{db}/_index/{rest:path}": [("DELETE", {}, None)],
    "/db/{db}/_local/{id:path}": [("GET", {}, None)],
    "/db/{db}/_revs_diff": [("POST", {}, {id: ["1-a"] for id in SECRET_IDS})],
    "/db/{db}/_security": [("GET", {}, None)],
    "/db/{db}/_design/{group}": [("GET", {}, None)],
    "/db/{db}/_design/{group}/_view/{view}": [
        ("GET", {"reduce": "false", "include_docs": "true"}, None),
        ("GET", {"group": "true"}, None),
    ],
    "/db/{db}/{doc:path}": [
        ("GET", {"doc": id, **more}, None)
        for id in (*SECRET_IDS, "storage_backend::b2")
        for more in ({}, {"revs": "true"}, {"open_revs": "all"}, {"latest": "true"})
    ],
}
VIEWS: Final = (
    ("files", "by_folder"),
    ("files", "by_media_type"),
    ("labels", "by_label"),
    ("replicas", "by_target"),
    ("notifications", "by_status"),
    ("annotations", "by_plugin"),
)


def asked(client: httpx.Client, db: str, path: str) -> list[tuple[str, str]]:
    """Each question at a path with its answer."""
    answers = []
    for method, query, body in QUESTIONS[path]:
        plain = {key: value for key, value in query.items() if key != "doc"}
        for group, view in VIEWS if "{group}" in path else VIEWS[:1]:
            url = path.removeprefix("/db").replace("{db}", db)
            url = url.replace("{group}", group).replace("{view}", view)
            url = url.replace("{doc:path}", query.get("doc", "")).replace("{path:path}", "x")
            url = url.replace("{id:path}", "x").replace("{rest:path}", "x")
            answer = client.request(method, url, params=plain, json=body)
            answers.append((f"{method} {url} {plain} {json.dumps(body)}", answer.text))
    return answers


def test_every_path_is_asked(tmp_path: Path) -> None:
    assert set(QUESTIONS) == set(paths(tmp_path))


def test_a_user_finds_nothing_secret(user: httpx.Client) -> None:
    for path in QUESTIONS:
        for question, answer in asked(user, "mosaic", path):
            # What somebody asked for comes back as the key of the row that says there is none.
            told = answer
            for id in SECRET_IDS:
                if id in question:
                    told = told.replace(json.dumps(id), '""')
            assert SECRET not in told, question


@pytest.mark.parametrize("db", ["mosaic", "ops"])
def test_an_administrator_finds_no_secret_value(client: httpx.Client, db: str) -> None:
    for path in QUESTIONS:
        for question, answer in asked(client, db, path):
            for content in CONTENTS:
                assert content not in answer, question


def test_the_secrets_are_there(client: httpx.Client, gateway: Gateway) -> None:
    """Or their absence would say nothing."""
    rows = client.get("/ops/_all_docs", params={"include_docs": "true"}).json()["rows"]
    assert {*SECRET_IDS} <= {row["id"] for row in rows}
    stored = gateway.places.documents_db.read_bytes()
    wal = gateway.places.documents_db.with_name("documents.db-wal")
    assert CONTENTS[0].encode() in stored + (wal.read_bytes() if wal.exists() else b"")


def test_a_secret_document_is_answered_as_one_that_never_was(user: httpx.Client) -> None:
    for id in SECRET_IDS:
        other = id[:-3] + "zzz"
        for secret, nothing in zip(probed(user, id), probed(user, other), strict=True):
            assert secret.status_code == nothing.status_code
            assert secret.text.replace(id, "") == nothing.text.replace(other, "")


def probed(user: httpx.Client, id: str) -> list[httpx.Response]:
    """Each way to ask for one document."""
    return [
        user.get(f"/mosaic/{id}"),
        user.get(f"/mosaic/{id}", params={"open_revs": "all"}),
        user.post("/mosaic/_bulk_get", json={"docs": [{"id": id}]}),
        user.post("/mosaic/_revs_diff", json={id: ["1-a"]}),
        user.post("/mosaic/_all_docs", json={"keys": [id]}),
        user.post("/mosaic/_changes?filter=_doc_ids", json={"doc_ids": [id]}),
    ]
