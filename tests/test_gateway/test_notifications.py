"""Notifications: shown, acknowledged, remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from events.clock import now
from events.codec import encode
from events.ids import new_uuid
from events.vocabulary.notices import NoticeResolved
from tests.test_gateway.test_files import pages

if TYPE_CHECKING:
    import httpx

    from tests.test_gateway.world import World

ADDRESS = "/api/notifications"


def ids(api: httpx.Client, **query: str) -> list[str]:
    answer = api.get(ADDRESS, params=query)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["notifications"]]


def test_a_notification_is_acknowledged(world: World, api: httpx.Client, word: str) -> None:
    # A condition may hold a path, and an id stands in an address.
    id = world.notice(word, "watch_path_inaccessible:/srv/ü b?", "error")
    assert id in ids(api)
    assert id in ids(api, status="active", severity="error")
    assert id not in ids(api, severity="info")
    done = api.post(f"{ADDRESS}/{quote(id, safe='')}/acknowledge")
    assert done.status_code == 200, done.text
    assert done.json()["stream"] == "NOTICES"
    assert id not in ids(api, status="active")
    assert id in ids(api)
    shown = next(
        each
        for each in api.get(ADDRESS, params={"status": "acknowledged"}).json()["notifications"]
        if each["id"] == id
    )
    assert shown["acknowledged_by"] == "admin"
    again = api.post(f"{ADDRESS}/{quote(id, safe='')}/acknowledge")
    assert (again.status_code, again.json()["rev"]) == (200, shown["rev"])
    assert api.post(f"{ADDRESS}/{word}::nothing/acknowledge").status_code == 404


def test_all_are_acknowledged_of_one_severity(world: World, api: httpx.Client, word: str) -> None:
    infos = [world.notice(word, f"i{n}", "info") for n in range(3)]
    error = world.notice(word, "e", "error")
    answer = api.post(f"{ADDRESS}/acknowledge-all", params={"severity": "info"}).json()
    assert answer["acknowledged"] >= 3
    active = ids(api, status="active")
    assert error in active
    assert not set(infos) & set(active)
    assert api.post(f"{ADDRESS}/acknowledge-all").json()["acknowledged"] >= 1
    assert ids(api, status="active") == []
    assert api.post(f"{ADDRESS}/acknowledge-all").json()["acknowledged"] == 0


def test_history_has_what_is_over(world: World, api: httpx.Client, word: str) -> None:
    made = [world.notice(word, f"n{n}") for n in range(5)]
    over = encode(NoticeResolved(), word, "n0", time=now(), actor=word, id=new_uuid())
    world.publish(over)
    assert made[0] not in ids(api)
    assert made[0] in ids(api, status="resolved")
    history = pages(api, f"{ADDRESS}/history", "notifications", limit=2)
    found = [each["id"] for each in history if each["id"].startswith(word)]
    assert sorted(found) == made
    seen = [each["last_seen"] for each in history]
    assert seen == sorted(seen, reverse=True)
