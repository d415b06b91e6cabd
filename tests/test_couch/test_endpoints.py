"""Each endpoint over HTTP, as CouchDB's clients use it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from projectors.documents.reader import Reader
from projectors.documents.revisions import chain, revision
from tests.test_couch.world import Gateway, Log, serving

if TYPE_CHECKING:
    from pathlib import Path

# What a parameter may be.
Json = Any


def changes(client: httpx.Client, db: str = "mosaic", **params: Json) -> dict[str, Any]:
    answer = client.get(f"/{db}/_changes", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [row["id"] for row in answer.get("results", answer.get("rows", []))]


def test_the_server(gateway: Gateway, client: httpx.Client) -> None:
    for path in ("", "/"):
        with httpx.Client() as plain:
            welcome = plain.get(gateway.url + path)
        assert welcome.status_code == 200
        assert welcome.json()["couchdb"] == "Welcome"
        assert re.fullmatch("[0-9a-f]{32}", welcome.json()["uuid"])
    assert client.get("/_up").json()["status"] == "ok"
    assert client.get("/_all_dbs").json() == ["mosaic", "ops"]
    assert len(client.get("/_uuids", params={"count": 3}).json()["uuids"]) == 3
    assert client.get("/_uuids", params={"count": 5000}).status_code == 400
    for path in ("/mosaic", "/mosaic/"):
        info = client.get(path).json()
        assert info["db_name"] == "mosaic"
        assert info["instance_start_time"] == "0"
        assert info["compact_running"] is False
        assert info["doc_del_count"] == 1
        assert client.head(path).status_code == 200
    assert client.get("/mosaic/_security").status_code == 200
    flushed = client.post("/mosaic/_ensure_full_commit")
    assert (flushed.status_code, flushed.json()["ok"]) == (201, True)
    for method in ("PUT", "DELETE"):
        refused = client.request(method, "/mosaic")
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert client.request("PATCH", "/mosaic").json()["error"] == "method_not_allowed"
    assert client.get("/mosaic/_nothing").status_code == 404


def test_another_log_has_another_uuid(tmp_path: Path) -> None:
    uuids: set[str] = set()
    for age in (0, 0, 1):
        with (
            serving(tmp_path / str(len(uuids)) / str(age), Log(age)) as gateway,
            gateway.client() as client,
        ):
            uuids.add(client.get("/").json()["uuid"])
    assert len(uuids) == 2


def test_a_session_in_each_way(gateway: Gateway) -> None:
    with gateway.client(None) as nobody:
        assert nobody.get("/_session").json()["userCtx"] == {"name": None, "roles": []}
        for path in ("/mosaic", "/_all_dbs", "/mosaic/_changes", "/nothing"):
            answer = nobody.get(path)
            assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
        wrong = nobody.post("/_session", data={"name": "ann", "password": "no"})
        assert wrong.status_code == 401
        right = nobody.post("/_session", data={"name": "ann", "password": "ann"})
        assert right.json() == {"ok": True, "name": "ann", "roles": ["admin", "_admin"]}
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        nobody.cookies.set("AuthSession", right.cookies["AuthSession"], domain="127.0.0.1")
        assert nobody.get("/mosaic").status_code == 200
        assert nobody.get("/_session").json()["userCtx"]["name"] == "ann"
        assert nobody.delete("/_session").json() == {"ok": True}
        assert nobody.get("/mosaic").status_code == 401
    with gateway.client(None, auth=("bob", "bob")) as basic:
        assert gateway.context is not None
        before = gateway.context.people.logins
        for _ in range(5):
            assert basic.get("/mosaic").status_code == 200
        assert gateway.context.people.logins == before + 1
        assert basic.post("/_session", json={"name": "bob", "password": "bob"}).status_code == 200
    for proof in ("Basic !!!", "Basic Ym9i", "Bearer nothing", "Digest x"):
        with httpx.Client(headers={"authorization": proof}) as odd:
            assert odd.get(f"{gateway.url}/mosaic").status_code == 401


def test_databases_exist_for_those_who_may_see_them(user: httpx.Client) -> None:
    assert user.get("/_all_dbs").json() == ["mosaic"]
    for method, path in (
        ("GET", "/ops"),
        ("GET", "/ops/_changes"),
        ("GET", "/ops/node::x"),
        ("PUT", "/ops"),
        ("POST", "/ops/_find"),
        ("GET", "/nothing"),
    ):
        answer = user.request(method, path)
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_documents_are_those_of_the_view(gateway: Gateway, client: httpx.Client) -> None:
    with Reader(gateway.places.documents_db) as reader:
        for row in changes(client, include_docs="true", limit=10_000)["results"]:
            if row.get("deleted"):
                assert row["doc"] == {
                    "_id": row["id"],
                    "_rev": row["changes"][0]["rev"],
                    "_deleted": True,
                }
                continue
            wanted = reader.document(row["id"])
            assert wanted is not None
            if wanted["type"] == "storage_backend":
                assert wanted.pop("secrets")
                del wanted["settings"]["inner"]["token"]
            assert row["doc"] == wanted
            assert client.get(f"/mosaic/{row['id']}").json() == wanted


def test_a_document(client: httpx.Client) -> None:
    id = next(id for id in ids(changes(client)) if id.startswith("node::"))
    found = client.get(f"/mosaic/{id}", params={"revs": "true", "revs_info": "true"})
    document = found.json()
    generation = int(document["_rev"].partition("-")[0])
    assert generation > 1
    assert document["_revisions"] == chain(id, generation)
    assert [each["status"] for each in document["_revs_info"]][:2] == ["available", "missing"]
    assert found.headers["etag"] == f'"{document["_rev"]}"'
    again = client.get(f"/mosaic/{id}", headers={"if-none-match": found.headers["etag"]})
    assert again.status_code == 304
    head = client.head(f"/mosaic/{id}")
    assert (head.status_code, head.content) == (200, b"")
    older = revision(id, generation - 1)
    assert client.get(f"/mosaic/{id}", params={"rev": document["_rev"]}).status_code == 200
    assert client.get(f"/mosaic/{id}", params={"rev": older}).status_code == 404
    latest = client.get(f"/mosaic/{id}", params={"rev": older, "latest": "true"})
    assert latest.json()["_rev"] == document["_rev"]
    assert client.get("/mosaic/label_rule::gone").json()["reason"] == "deleted"
    assert client.get("/mosaic/label_rule::never").json()["reason"] == "missing"
    upper = next(id for id in ids(changes(client)) if id.startswith("file::"))
    assert client.get("/mosaic/file::" + upper[6:].upper()).status_code == 404


def test_open_revisions(client: httpx.Client) -> None:
    id = next(id for id in ids(changes(client)) if id.startswith("file::"))
    rev = client.get(f"/mosaic/{id}").json()["_rev"]
    other = "7-" + "0" * 32
    asked = {"open_revs": json.dumps([rev, other]), "revs": "true"}
    rows = client.get(f"/mosaic/{id}", params=asked).json()
    assert rows[0]["ok"]["_revisions"]["ids"] == [rev.partition("-")[2]]
    assert rows[1] == {"missing": other}
    parts = client.get(f"/mosaic/{id}", params=asked, headers={"accept": "multipart/mixed"})
    boundary = parts.headers["content-type"].partition("boundary=")[2].strip('"')
    pieces = parts.text.split(f"--{boundary}")
    assert len(pieces) == 4
    assert json.loads(pieces[1].partition("\r\n\r\n")[2]) == rows[0]["ok"]
    assert 'error="true"' in pieces[2]
    gone = client.get("/mosaic/label_rule::gone", params={"open_revs": "all"}).json()
    assert gone[0]["ok"]["_deleted"] is True


def test_bulk_get_and_revs_diff(client: httpx.Client) -> None:
    rows = changes(client)["results"]
    asked = [{"id": row["id"], "rev": row["changes"][0]["rev"]} for row in rows]
    asked.insert(3, {"id": "user::c4nary-5ecret"})
    answer = client.post("/mosaic/_bulk_get?revs=true&latest=true", json={"docs": asked}).json()
    assert list(answer) == ["results"]
    assert [each["id"] for each in answer["results"]] == [each["id"] for each in asked]
    for each, want in zip(answer["results"], asked, strict=True):
        (doc,) = each["docs"]
        if want["id"].startswith("user::"):
            assert doc["error"]["error"] == "not_found"
        else:
            assert doc["ok"]["_rev"] == want["rev"]
    odd = client.post("/mosaic/_bulk_get", json={"docs": [5, {"id": 7}]}).json()
    assert [each["docs"][0]["error"]["error"] for each in odd["results"]] == ["bad_request"] * 2
    row = rows[0]
    rev = row["changes"][0]["rev"]
    ahead = revision(row["id"], 99)
    diff = client.post(
        "/mosaic/_revs_diff", json={row["id"]: [rev, ahead], "user::c4nary-5ecret": ["1-a"]}
    ).json()
    assert diff[row["id"]] == {"missing": [ahead], "possible_ancestors": [rev]}
    assert diff["user::c4nary-5ecret"] == {"missing": ["1-a"]}


def test_nothing_can_be_written(client: httpx.Client) -> None:
    rows = client.post(
        "/mosaic/_bulk_docs", json={"docs": [{"_id": "a", "_rev": "1-a"}, {}], "new_edits": False}
    )
    assert rows.status_code == 201
    assert [row["error"] for row in rows.json()] == ["forbidden"] * 2
    for method, path in (
        ("PUT", "/mosaic/a"),
        ("DELETE", "/mosaic/a"),
        ("POST", "/mosaic"),
        ("PUT", "/mosaic/_design/a"),
        ("PUT", "/mosaic/_security"),
    ):
        answer = client.request(method, path, json={})
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), path


def test_local_documents(client: httpx.Client, user: httpx.Client) -> None:
    where = "/mosaic/_local/abc%2Fd"
    assert client.get(where).status_code == 404
    made = client.put(where, json={"last_seq": "1-x"})
    assert (made.status_code, made.json()["rev"]) == (201, "0-1")
    assert client.get(where).json() == {
        "_id": "_local/abc/d",
        "_rev": "0-1",
        "last_seq": "1-x",
    }
    assert user.get(where).status_code == 404
    assert client.get(where.replace("mosaic", "ops")).status_code == 404
    assert client.put(where, json={"last_seq": "2-x"}).status_code == 409
    assert client.put(where, json={"_rev": "0-1", "last_seq": "2-x"}).json()["rev"] == "0-2"
    assert client.put(where, json={"_rev": "0-1"}).status_code == 409
    assert client.put("/mosaic/_local/big", json={"a": "x" * 70_000}).status_code == 413
    assert client.put("/mosaic/_local/lost", json={"last_seq": 0}).status_code == 403
    assert client.delete(where, params={"rev": "0-1"}).status_code == 409
    assert client.delete(where, params={"rev": "0-2"}).json()["ok"] is True
    assert client.get(where).status_code == 404
    assert not [id for id in ids(changes(client)) if id.startswith("_local")]


def test_changes_in_pages_and_backwards(client: httpx.Client) -> None:
    whole = changes(client)
    seqs = [int(row["seq"].partition("-")[0]) for row in whole["results"]]
    assert seqs == sorted(seqs)
    assert whole["pending"] == 0
    paged, since = [], "0"
    while True:
        page = changes(client, limit=3, since=since)
        paged += ids(page)
        since = page["last_seq"]
        if len(page["results"]) < 3:
            break
    assert paged == ids(whole)
    for row, then in zip(whole["results"], whole["results"][1:], strict=False):
        after = changes(client, since=row["seq"], limit=1)
        assert ids(after) == [then["id"]]
    back = changes(client, descending="true")
    assert ids(back) == ids(whole)[::-1]
    assert ids(changes(client, descending="true", limit=2)) == ids(whole)[::-1][:2]
    nothing = changes(client, limit=0)
    assert nothing["results"] == []
    assert nothing["pending"] == len(whole["results"])
    now = changes(client, since="now")
    assert (now["results"], now["last_seq"]) == ([], whole["last_seq"])
    for begin in ("17", '"0"', "0"):
        assert len(changes(client, since=begin)["results"]) == len(whole["results"])
    assert len(changes(client, since=f'"{since}"')["results"]) == 0
    sparse = changes(client, seq_interval=10)["results"]
    assert [row["seq"] is None for row in sparse[:11]] == [False, *[True] * 9, False]
    for wrong in ({"since": "x"}, {"feed": "odd"}, {"limit": "-1"}, {"include_docs": "perhaps"}):
        assert client.get("/mosaic/_changes", params=wrong).status_code == 400


def test_filters_narrow_before_the_limit(client: httpx.Client) -> None:
    def posted(body: dict[str, Any], **params: Json) -> dict[str, Any]:
        found: dict[str, Any] = client.post("/mosaic/_changes", params=params, json=body).json()
        return found

    rules = posted({"selector": {"type": "label_rule"}}, filter="_selector", limit=2)
    assert ids(rules) == ["label_rule::r1", "label_rule::gone"]
    assert rules["results"][1]["deleted"] is True
    large = posted({"selector": {"size": {"$gt": 500}}}, filter="_selector", limit=5)
    assert len(large["results"]) == 5
    rest = posted({"selector": {"size": {"$gt": 500}}}, filter="_selector", since=large["last_seq"])
    assert rest["results"] == []
    chosen = [ids(large)[2], "label_rule::r1", "user::c4nary-5ecret"]
    assert set(ids(posted({"doc_ids": chosen}, filter="_doc_ids"))) == set(chosen[:2])
    pictures = changes(client, filter="_view", view="annotations/by_plugin")
    assert len(pictures["results"]) == 5
    assert client.get("/mosaic/_changes", params={"filter": "my/own"}).status_code == 404
    secret = posted({"selector": {"type": {"$in": ["user", "credential"]}}}, filter="_selector")
    assert secret["results"] == []


def test_all_docs(client: httpx.Client) -> None:
    whole = client.get("/mosaic/_all_docs").json()
    listed = ids(whole)
    assert listed == sorted(listed)
    assert whole["total_rows"] == len(listed) == client.get("/mosaic").json()["doc_count"]
    assert set(listed) == set(ids(changes(client))) - {"label_rule::gone"}

    def part(**params: Json) -> list[str]:
        encoded = {key: json.dumps(value) for key, value in params.items()}
        return ids(client.get("/mosaic/_all_docs", params=encoded).json())

    low, high = listed[4], listed[-4]
    assert part(startkey=low, endkey=high) == listed[4:-3]
    assert part(startkey=low, endkey=high, inclusive_end=False) == listed[4:-4]
    assert part(startkey=high, endkey=low, descending=True) == listed[4:-3][::-1]
    assert (
        part(startkey=high, endkey=low, descending=True, inclusive_end=False)
        == (listed[5:-3][::-1])
    )
    assert part(key=low) == [low]
    assert part(skip=3, limit=30) == listed[3:33]
    assert part(skip=30, limit=30, descending=True) == listed[::-1][30:60]
    assert part(startkey={}) == []
    assert part(startkey=None, endkey={}) == listed
    assert part(startkey="file::", endkey="file::\uffff") == [
        id for id in listed if id.startswith("file::")
    ]
    rows = client.post(
        "/mosaic/_all_docs?include_docs=true",
        json={"keys": [low, "label_rule::gone", "user::c4nary-5ecret", 5]},
    ).json()["rows"]
    assert rows[0]["doc"]["_id"] == low
    assert rows[1]["value"]["deleted"] is True
    assert rows[1]["doc"] is None
    assert rows[2] == {"key": "user::c4nary-5ecret", "error": "not_found"}
    assert rows[3] == {"key": 5, "error": "not_found"}
    wrong = client.get("/mosaic/_all_docs", params={"startkey": "bare"})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "query_parse_error")


def test_find(client: httpx.Client) -> None:
    def find(selector: dict[str, Any], **more: Json) -> dict[str, Any]:
        answer = client.post("/mosaic/_find", json={"selector": selector, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    pictures = find({"source.export_parent": "/data/photos"}, sort=[{"name": "desc"}], limit=2)
    assert [doc["name"] for doc in pictures["docs"]] == ["bild-4.jpg", "bild-3.jpg"]
    more = find(
        {"source.export_parent": "/data/photos"},
        sort=[{"name": "desc"}],
        limit=9,
        bookmark=pictures["bookmark"],
    )
    assert [doc["name"] for doc in more["docs"]] == ["bild-2.jpg", "bild-1.jpg", "bild-0.jpg"]
    assert "warning" not in pictures
    assert "warning" in find({"size": {"$gt": 1}})
    names = find({"name": {"$regex": "^file 00[0-4]"}}, fields=["name", "source.node_id"])
    assert [sorted(doc) for doc in names["docs"]] == [["name", "source"]] * 5
    first = find({"type": "file"}, limit=7)
    second = find({"type": "file"}, limit=100, bookmark=first["bookmark"])
    assert len(first["docs"]) + len(second["docs"]) == 25
    assert not {d["_id"] for d in first["docs"]} & {d["_id"] for d in second["docs"]}
    assert len(find({"type": "file"}, skip=20, limit=100)["docs"]) == 5
    assert find({"_id": {"$gt": None}}, limit=1000)["docs"] == [
        row["doc"] for row in client.get("/mosaic/_all_docs?include_docs=true").json()["rows"]
    ]
    assert find({"$or": [{"name": "x"}, {"labels": {"$all": ["red", "blue"]}}]})["docs"]
    assert find({"type": "user"})["docs"] == []
    assert find({"secrets": {"$exists": True}})["docs"] == []
    statistics = find({"size": 1000}, execution_stats=True)["execution_stats"]
    assert statistics["results_returned"] == 5
    plan = client.post("/mosaic/_explain", json={"selector": {"inode": 1003}}).json()
    assert plan["index"]["name"] == "inode"
    assert client.get("/mosaic/_index").json()["indexes"][0]["name"] == "_all_docs"
    exists = client.post("/mosaic/_index", json={"index": {"fields": ["inode"]}}).json()
    assert exists["result"] == "exists"
    assert client.post("/mosaic/_index", json={"index": {"fields": ["x"]}}).status_code == 403
    deep: dict[str, Any] = {"a": 1}
    for _ in range(100):
        deep = {"$not": deep}
    for wrong in (
        {},
        {"selector": 5},
        {"selector": {"a": {"$odd": 1}}},
        {"selector": {"a": {"$regex": "(a"}}},
        {"selector": {"a": {"$in": 5}}},
        {"selector": deep},
        {"selector": {}, "sort": [{"a": "up"}]},
        {"selector": {}, "limit": -1},
        {"selector": {}, "bookmark": "%%%"},
    ):
        answer = client.post("/mosaic/_find", json=wrong)
        assert answer.status_code == 400, wrong
        assert set(answer.json()) == {"error", "reason"}


def test_views(client: httpx.Client) -> None:
    def view(name: str, **params: Json) -> dict[str, Any]:
        encoded = {key: json.dumps(value) for key, value in params.items()}
        group, _, which = name.partition("/")
        answer = client.get(f"/mosaic/_design/{group}/_view/{which}", params=encoded)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    (total,) = view("files/by_folder")["rows"]
    assert total["key"] is None
    assert total["value"]["count"] == 23
    folders = view("files/by_folder", group_level=2)["rows"]
    assert [(row["key"][1], row["value"]["count"]) for row in folders] == [
        ("/data", 18),
        ("/data/photos", 5),
    ]
    assert folders[1]["value"]["sum"] == 5000
    node = folders[0]["key"][0]
    photos = {"startkey": [node, "/data/photos"], "endkey": [node, "/data/photos", {}]}
    rows = view("files/by_folder", reduce=False, include_docs=True, **photos)["rows"]
    assert [row["key"][2] for row in rows] == [f"bild-{i}.jpg" for i in range(5)]
    assert [row["doc"]["_id"] for row in rows] == [row["id"] for row in rows]
    down = view("files/by_folder", reduce=False, descending=True, limit=2, skip=1)["rows"]
    assert [row["key"][2] for row in down] == ["bild-3.jpg", "bild-2.jpg"]
    one = view("files/by_folder", reduce=False, key=[node, "/data/photos", "bild-2.jpg"])["rows"]
    assert [row["value"] for row in one] == [1000]
    assert view("files/by_media_type", group_level=1)["rows"][0]["key"] == ["image/jpeg"]
    labels = view("labels/by_label", group_level=1)["rows"]
    assert [(row["key"], row["value"]) for row in labels] == [(["blue"], 1), (["red"], 2)]
    assert len(view("labels/by_label", reduce=False, startkey=["red"])["rows"]) == 2
    (copies,) = view("replicas/by_target", group=True)["rows"]
    assert copies == {
        "key": ["nas", "current"],
        "value": {"sum": 35, "count": 5, "min": 7, "max": 7, "sumsqr": 245.0},
    }
    assert client.get("/mosaic/_design/files").json()["views"]["by_folder"]["reduce"] == "_stats"
    assert client.get("/mosaic/_design/files/_view/none").status_code == 404
    assert client.get("/mosaic/_design/none").status_code == 404


def test_a_long_poll_wakes_after_the_commit(gateway: Gateway, log: Log) -> None:
    with gateway.client() as client:
        since = changes(client)["last_seq"]
        with client.stream(
            "GET", "/mosaic/_changes", params={"feed": "longpoll", "since": since}
        ) as answer:
            log.new_files(["new.txt"])
            gateway.sync()
            found = json.loads(answer.read())
        assert len(found["results"]) == 1
        again = changes(client, since=found["last_seq"], feed="longpoll", timeout=50)
        assert (again["results"], again["pending"]) == ([], 0)


def test_a_filter_that_matches_nothing_advances_and_waits(gateway: Gateway, log: Log) -> None:
    with gateway.client() as client:
        since = changes(client)["last_seq"]
        asked = {"feed": "longpoll", "since": since, "filter": "_selector", "heartbeat": 100}
        body = {"selector": {"type": "label_rule"}}
        with client.stream("POST", "/mosaic/_changes", params=asked, json=body) as answer:
            parts = answer.iter_bytes()
            assert next(parts).startswith(b'{"results"')
            log.new_files(["not wanted.txt"])
            gateway.sync()
            assert next(parts) == b"\n"
            log.rule("r2", "x")
            gateway.sync()
            found = json.loads(b'{"results":[' + b"".join(parts))
        assert ids(found) == ["label_rule::r2"]
        assert int(found["last_seq"].partition("-")[0]) > int(since.partition("-")[0])


@pytest.mark.parametrize("feed", ["continuous", "eventsource"])
def test_feeds_that_last(gateway: Gateway, log: Log, feed: str) -> None:
    with gateway.client() as client:
        since = changes(client)["last_seq"]
        asked = {"feed": feed, "since": since, "include_docs": "true", "limit": 3}
        with client.stream("GET", "/mosaic/_changes", params=asked) as answer:
            log.new_files(["a.txt"])
            gateway.sync()
            lines = answer.iter_lines()
            first = next(lines)
            log.new_files(["b.txt", "c.txt", "d.txt"])
            gateway.sync()
            rest = [line for line in lines if line]
    if feed == "eventsource":
        data = [line for line in [first, *rest] if line.startswith("data: ")]
        last = [line for line in rest if line.startswith("id: ")][-1].removeprefix("id: ")
        rows = [json.loads(line.removeprefix("data: ")) for line in data]
    else:
        *lines_, ending = rest
        rows = [json.loads(line) for line in [first, *lines_]]
        last = json.loads(ending)["last_seq"]
    assert [row["doc"]["name"] for row in rows] == ["a.txt", "b.txt", "c.txt"]
    with gateway.client() as client:
        left = changes(client, since=last, include_docs="true")
        assert [row["doc"]["name"] for row in left["results"]] == ["d.txt"]
        with client.stream(
            "GET",
            "/mosaic/_changes",
            params={"feed": "eventsource", "timeout": 100},
            headers={"last-event-id": last},
        ) as answer:
            assert answer.read().count(b"data: ") == 1


def test_who_waits_is_answered_when_the_gateway_stops(gateway: Gateway) -> None:
    with gateway.client() as client:
        since = changes(client)["last_seq"]
        asked = {"feed": "longpoll", "since": since, "heartbeat": 10_000}
        with client.stream("GET", "/mosaic/_changes", params=asked) as answer:
            parts = answer.iter_bytes()
            first = next(parts)
            gateway.stop()
            found = json.loads(first + b"".join(parts))
    assert found["results"] == []
    assert found["last_seq"] == since


def test_a_token_ahead_waits(tmp_path: Path, log: Log, gateway: Gateway) -> None:
    with serving(tmp_path / "slow", log) as slow, gateway.client() as fast_client:
        log.new_files(["later.txt"])
        gateway.sync()
        ahead = changes(fast_client)["last_seq"]
        row = changes(fast_client)["results"][-1]
        with slow.client() as client:
            at_once = changes(client, since=ahead)
            assert (at_once["results"], at_once["last_seq"]) == ([], ahead)
            asked = {"feed": "longpoll", "since": ahead}
            with client.stream("GET", "/mosaic/_changes", params=asked) as answer:
                slow.sync()
                log.new_files(["last.txt"])
                slow.sync()
                found = json.loads(answer.read())
            assert len(found["results"]) == 1
            wanted = {"docs": [{"id": row["id"], "rev": row["changes"][0]["rev"]}]}
            got = client.post("/mosaic/_bulk_get", json=wanted).json()["results"][0]["docs"][0]
            assert got["ok"]["name"] == "later.txt"


def test_a_token_of_another_log_counts_as_nothing(tmp_path: Path, client: httpx.Client) -> None:
    other = Log(age=5)
    other.new_files(["x.txt"])
    token = changes(client)["last_seq"]
    with serving(tmp_path / "other", other) as gateway, gateway.client() as there:
        assert len(changes(there, since=token)["results"]) == 1


def test_hostile_bodies(client: httpx.Client) -> None:
    for content in (b"\xff\xfe", b"[]", b"{", b"[" * 100_000, b"5"):
        answer = client.post("/mosaic/_find", content=content)
        assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")
    large = client.post("/mosaic/_find", content=b" " * (9 * 1024 * 1024))
    assert large.status_code == 413
    for path in ("/mosaic/a%00b", "/mosaic/%ff", "/mosaic/..%2f..%2fetc", "/mosaic/_local/%00"):
        assert client.get(path).status_code == 404
    for params in ({"startkey": '"\\u0000"'}, {"key": "[" * 5000}, {"limit": "9" * 50}):
        assert client.get("/mosaic/_all_docs", params=params).status_code in (200, 400)


def test_fauxton_is_served_from_its_folder(gateway: Gateway) -> None:
    with httpx.Client() as plain:
        assert plain.get(f"{gateway.url}/_utils/").status_code == 404
        folder = gateway.places.state / "fauxton"
        folder.mkdir()
        (folder / "index.html").write_text("<p>Fauxton")
        for path in ("/_utils", "/_utils/", "/_utils/index.html"):
            assert "Fauxton" in plain.get(gateway.url + path).text
        for path in ("/_utils/%2e%2e/node_id", "/_utils/..%2fviews%2fdocuments.db"):
            assert plain.get(gateway.url + path).status_code == 404
