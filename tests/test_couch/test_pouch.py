"""Real PouchDB in node: its replications, its queries, and its replica against the view."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.couch.databases import DATABASES
from projectors.documents import changes
from projectors.documents.reader import Reader
from tests.conftest import wait_until
from tests.test_couch.node import Pouch
from tests.test_couch.world import Gateway, Log, by_stream, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from events.consume import Message


@pytest.fixture
def pouch(tmp_path: Path) -> Iterator[Pouch]:
    pouch = Pouch(tmp_path / "pouch")
    yield pouch
    pouch.close()


def at(gateway: Gateway, db: str = "mosaic", name: str = "bob") -> dict[str, str]:
    return {"url": f"{gateway.url}/{db}", "token": f"token-{name}"}


def view_of(gateway: Gateway) -> dict[str, Any]:
    """What a replica has to have: every document and every tombstone that bob may see."""
    with Reader(gateway.places.documents_db) as reader:
        page = changes.page(reader, DATABASES["mosaic"].audience, {}, limit=100_000)
        return {row.entry.doc: row.entry.document() for row in page.rows}


def same(pouch: Pouch, gateway: Gateway, name: str = "a") -> bool:
    found: bool = pouch.ask("everything", name=name) == view_of(gateway)
    return found


def test_one_pull_and_another(pouch: Pouch, gateway: Gateway, log: Log) -> None:
    first = pouch.ask("pull", name="a", **at(gateway), options={"batch_size": 7})
    assert first["ok"]
    assert first["written"] == len(view_of(gateway))
    assert same(pouch, gateway)
    assert pouch.ask("pull", name="a", **at(gateway))["read"] == 0
    log.change_files(list(log.files)[:3], size=7)
    log.rule("gone", "back again")
    log.drop_rule("r1")
    gateway.sync()
    again = pouch.ask("pull", name="a", **at(gateway))
    assert again["written"] == 5
    assert same(pouch, gateway)


def test_live_across_a_restart(pouch: Pouch, gateway: Gateway, log: Log) -> None:
    pouch.ask("live", name="a", **at(gateway))
    wait_until(lambda: same(pouch, gateway), "the replica has everything")
    log.new_files(["first.txt"])
    gateway.sync()
    wait_until(lambda: same(pouch, gateway), "a change arrives")
    gateway.stop()
    log.new_files([f"while away {i}" for i in range(300)])
    gateway.sync()
    gateway.start()
    wait_until(lambda: same(pouch, gateway), "the replica went on after the restart")
    log.rule("late", "x")
    gateway.sync()
    wait_until(lambda: same(pouch, gateway), "and lives")
    assert pouch.ask("events")["error"] == []
    pouch.ask("stop", name="a")


def test_resume_at_another_gateway(
    pouch: Pouch, tmp_path: Path, gateway: Gateway, log: Log
) -> None:
    """The second gateway has met the streams in another order and has no checkpoint of ours."""
    pouch.ask("pull", name="a", **at(gateway), options={"batch_size": 10})
    log.new_files(["second.txt", "third.txt"])
    second = Gateway(tmp_path / "second", log)
    second._applied = len(log.messages)
    messages: list[Message] = by_stream(log.messages)
    second.apply(messages)
    second.start()
    try:
        moved = pouch.ask("pull", name="a", **at(second))
        assert (moved["read"], moved["written"]) == (2, 2)
        assert same(pouch, second)
        log.label(next(iter(log.files)), "green")
        second.sync()
        gateway.sync()
        assert pouch.ask("pull", name="a", **at(second))["written"] == 1
        assert pouch.ask("pull", name="a", **at(gateway))["written"] == 0
        assert same(pouch, gateway)
    finally:
        second.close()


def test_another_log_is_another_source(pouch: Pouch, tmp_path: Path, gateway: Gateway) -> None:
    pouch.ask("pull", name="a", **at(gateway))
    other = Log(age=3)
    other.new_files(["only here"])
    with serving(tmp_path / "other", other) as elsewhere:
        assert pouch.ask("pull", name="a", **at(elsewhere))["written"] == 1


def test_queries(pouch: Pouch, gateway: Gateway) -> None:
    where = at(gateway)
    found = pouch.ask(
        "remote",
        call="find",
        args=[{"selector": {"mime_type": "image/jpeg", "size": {"$gte": 1000}}, "limit": 3}],
        **where,
    )
    assert [doc["size"] for doc in found["docs"]] == [1000] * 3
    rows = pouch.ask("remote", call="query", args=["files/by_folder", {"group_level": 1}], **where)[
        "rows"
    ]
    assert rows[0]["value"]["count"] == 23
    listed = pouch.ask(
        "remote",
        call="allDocs",
        args=[{"startkey": "node::", "endkey": "node::\uffff", "include_docs": True}],
        **where,
    )
    assert [row["doc"]["type"] for row in listed["rows"]] == ["node"]
    keyed = pouch.ask(
        "remote", call="allDocs", args=[{"keys": ["label_rule::r1", "no", "user::x"]}], **where
    )
    assert [row.get("error") for row in keyed["rows"]] == [None, "not_found", "not_found"]
    info = pouch.ask("remote", call="info", args=[], **where)
    assert info["doc_count"] == len(view_of(gateway)) - 1
    got = pouch.ask("remote", call="get", args=["label_rule::r1", {"revs": True}], **where)
    assert got["_revisions"]["start"] == 1
    bulk = pouch.ask("remote", call="bulkGet", args=[{"docs": [{"id": "label_rule::r1"}]}], **where)
    assert bulk["results"][0]["docs"][0]["ok"]["_id"] == "label_rule::r1"
    chosen = pouch.ask("subscribe", filter={"doc_ids": ["label_rule::r1"]}, **where)
    assert [row["id"] for row in chosen] == ["label_rule::r1"]
    rules = pouch.ask("subscribe", filter={"selector": {"type": "label_rule"}}, **where)
    assert len(rules) == 2


def test_what_may_not_be_is_refused_in_its_words(pouch: Pouch, gateway: Gateway) -> None:
    wrong = pouch.raw("remote", call="put", args=[{"_id": "x"}], **at(gateway))
    assert (wrong["error"]["name"], wrong["error"]["status"]) == ("forbidden", 403)
    pouch.ask("put", name="b", doc={"_id": "mine"})
    pouch.ask("push", name="b", **at(gateway))
    assert "mine" not in view_of(gateway)
    unseen = pouch.raw("remote", call="get", args=["user::c4nary-5ecret"], **at(gateway))
    assert unseen["error"]["status"] == 404
    stranger = {"url": f"{gateway.url}/mosaic", "token": "nothing"}
    refused = pouch.raw("pull", name="c", **stranger)
    assert refused["error"]["status"] == 401
    nowhere = pouch.raw("pull", name="d", **at(gateway, "ops"))
    assert nowhere["error"]["status"] == 404 or nowhere["error"]["name"] == "forbidden"


@pytest.mark.slow
def test_the_live_figure_is_below_a_second(pouch: Pouch, gateway: Gateway, log: Log) -> None:
    """Five changes, each from its commit to the replica."""
    pouch.ask("live", name="a", **at(gateway))
    wait_until(lambda: same(pouch, gateway), "the replica has everything")
    for number in range(5):
        log.new_files([f"now {number}"])
        began = time.monotonic()
        gateway.sync()
        wait_until(lambda: same(pouch, gateway), "the change arrives")
        assert time.monotonic() - began < 1.0
    pouch.ask("stop", name="a")
