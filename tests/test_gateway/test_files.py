"""Files: pages, one by id or path, search by name."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_gateway.world import ALPHA, BETA, World

if TYPE_CHECKING:
    import httpx


Plain = str | int | bool


def pages(api: httpx.Client, path: str, key: str, **query: Plain) -> list[Any]:
    """Everything, page by page."""
    found: list[Any] = []
    cursor = None
    while True:
        given = {**query, **({"cursor": cursor} if cursor else {})}
        answer = api.get(path, params=given)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += body[key]
        cursor = body.get("next")
        if cursor is None:
            return found


def paths(api: httpx.Client, **query: Plain) -> list[str]:
    return [each["path"] for each in pages(api, "/api/files", "files", **query)]


def test_a_file_by_id_and_by_path(world: World, api: httpx.Client, word: str) -> None:
    path = f"/{word}/Ünï cödé 'n\" \n\t\N{SMILING FACE WITH OPEN MOUTH}.txt"
    id = world.files(ALPHA, [path])[path]
    one = api.get(f"/api/files/{id}")
    assert one.status_code == 200
    file = one.json()
    assert (file["path"], file["node"], file["mime_type"]) == (path, ALPHA, "text/plain")
    assert one.headers["etag"] == f'"{file["rev"]}"'
    same = api.get("/api/files/by-path", params={"path": path})
    assert same.json() == file
    assert api.get("/api/files/by-path", params={"path": path, "node": ALPHA}).json() == file
    assert api.get("/api/files/by-path", params={"path": path, "node": BETA}).status_code == 404
    again = api.get(f"/api/files/{id}", headers={"if-none-match": one.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/etc/../etc/passwd", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        ("../../etc/passwd", 400),
        ("", 400),
        ("/etc/passwd\0.txt", 400),
        ("/" + "a" * 5000, 404),
        ("/\ud800", 404),
        ("/' OR 1=1 --", 404),
    ],
)
def test_hostile_paths(api: httpx.Client, path: str, status: int) -> None:
    quoted = "".join(f"%{byte:02x}" for byte in path.encode("utf-8", "surrogatepass"))
    answer = api.get(f"/api/files/by-path?path={quoted}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("id", ["x", "..", "%00", "0" * 36, "' OR 1=1", "a" * 5000, "%2e%2e%2fx"])
def test_hostile_ids(api: httpx.Client, id: str) -> None:
    assert api.get(f"/api/files/{id}").status_code in (400, 404)


def test_pages_have_everything_once_in_order(world: World, api: httpx.Client, word: str) -> None:
    draw = random.Random(5)
    top = f"/{word}"
    folders = [top, f"{top}/a", f"{top}/a b", f"{top}/a/c", f"{top}/a!", f"{top}/z", f"{top}x"]
    wanted = {node: set[str]() for node in (ALPHA, BETA)}
    for node, known in wanted.items():
        known |= {f"{draw.choice(folders)}/{n}" for n in range(40)}
        world.files(node, sorted(known))
    inside = [
        path
        for node in (ALPHA, BETA)
        for path in sorted(wanted[node], key=lambda path: path.rpartition("/")[::2])
        if path.startswith(f"{top}/")
    ]
    for limit in (1, 3, 7, 1000):
        assert paths(api, below=top, limit=limit) == inside
    only = [path for path in inside if path in wanted[BETA]]
    assert set(paths(api, below=f"{top}/", limit=7, node=BETA)) == set(only)
    direct = sorted(path for path in wanted[ALPHA] if path.startswith(f"{top}/a/"))
    direct = [path for path in direct if path.count("/") == 3]
    assert paths(api, parent=f"{top}/a", node=ALPHA, limit=2) == direct
    assert paths(api, parent=f"{top}/a", below=f"{top}/z") == []
    every = paths(api, limit=97)
    assert set(inside) <= set(every)


def test_a_cursor_holds_while_files_come_and_go(world: World, api: httpx.Client, word: str) -> None:
    made = world.files(ALPHA, [f"/{word}/{n}" for n in range(10, 20)])
    first = api.get("/api/files", params={"below": f"/{word}", "limit": 5}).json()
    last = first["files"][-1]
    world.remove_file(ALPHA, last["id"], last["path"])
    world.files(ALPHA, [f"/{word}/0", f"/{word}/155"])
    rest = api.get(
        "/api/files", params={"below": f"/{word}", "limit": 50, "cursor": first["next"]}
    ).json()
    names = [file["name"] for file in [*first["files"], *rest["files"]]]
    assert names == [*["10", "11", "12", "13", "14", "15", "155", "16", "17", "18", "19"]]
    assert len(made) == 10
    # Gone ones are there for those who ask.
    gone = pages(api, "/api/files", "files", below=f"/{word}", deleted=True, limit=3)
    assert [file["name"] for file in gone if file["status"] == "deleted"] == ["14"]
    assert [file["name"] for file in gone] == sorted(file["name"] for file in gone)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": 10**9},
        {"limit": "many"},
        {"cursor": "x"},
        {"cursor": "AAAA"},
        {"cursor": "WyJhIiwiYiIsImMiLCJkIl0"},
        {"cursor": "W1tbW1tb" * 500},
        {"parent": "relative"},
        {"below": ""},
        {"unknown": "1"},
        {"deleted": "perhaps"},
        {"node": "a\0b"},
    ],
)
@pytest.mark.parametrize("path", ["/api/files", "/api/search?q=abc"])
def test_odd_queries_are_refused(api: httpx.Client, path: str, query: dict[str, Any]) -> None:
    answer = api.get(path, params=query, extensions={})
    if path == "/api/search?q=abc":
        answer = api.get("/api/search", params={"q": "abc", **query})
    assert answer.status_code == 400, answer.text
    assert answer.json()["status"] == 400


def found(api: httpx.Client, **query: Plain) -> list[str]:
    matches = pages(api, "/api/search", "matches", **query)
    return [match["file"]["name"] for match in matches]


def test_search(world: World, api: httpx.Client, word: str) -> None:
    names = [f"{word}.txt", f"My {word} plan.TXT", f"{word}_2.pdf", f"old{word}", f"{word}ß.md"]
    world.files(ALPHA, [f"/s/{name}" for name in names])
    world.files(BETA, [f"/s/{word}.txt"])
    assert sorted(found(api, q=word)) == sorted([*names, names[0]])
    assert sorted(found(api, q=word.upper(), limit=2)) == sorted([*names, names[0]])
    assert found(api, q=word, node=BETA) == [names[0]]
    assert sorted(found(api, q=f"{word}*.txt")) == [names[0], names[0]]
    assert sorted(found(api, q=f"*{word}*.txt")) == sorted([names[0], names[0], names[1]])
    assert found(api, q=f"{word}?2.*") == [names[2]]
    assert found(api, q=f"{word}ß") == [names[4]]
    assert found(api, q=f"{word}%") == []
    assert found(api, q=f"{word}[_]2*") == []
    # The whole name comes before a beginning, that before a word, that before the middle of one.
    ranked = found(api, q=word, node=ALPHA)
    assert ranked[0] == names[0]
    assert ranked[-2:] == [names[1], names[3]]
    assert found(api, q=word, node=ALPHA, sort="name", limit=2) == sorted(names)
    sizes = found(api, q=word, node=ALPHA, sort="size", limit=2)
    assert sizes == names[::-1]
    assert found(api, q=word, node=ALPHA, sort="modified", limit=3) == names[::-1]


def test_what_is_found_is_marked(world: World, api: httpx.Client, word: str) -> None:
    name = f"ÄÖ {word} to {word}.Txt"
    world.files(ALPHA, [f"/m/{name}"])

    def marked(text: str) -> list[str]:
        match = api.get("/api/search", params={"q": text}).json()["matches"][0]
        return [name[start:end] for start, end in match["highlights"]]

    assert marked(word.upper()) == [word]
    assert marked(f"*{word}*TXT") == [word, "Txt"]
    assert marked(f"äö*{word}?txt") == ["ÄÖ", word, "Txt"]


def test_short_and_odd_texts_are_searched_too(world: World, api: httpx.Client, word: str) -> None:
    folder = f"/odd-{word}"
    names = ["~q", 'a"b', "a'b", "a\\b", "100%", "x_y", "#", "漢字", "-- OR", "NEAR(a b)", "a*?"]
    world.files(BETA, [f"{folder}/{name}" for name in names])
    for name in names:
        text = name.replace("*", "?")
        assert name in found(api, q=text, node=BETA, limit=1000), name
    assert "~q" not in found(api, q="_q", node=BETA)
    assert "100%" in found(api, q="*%", node=BETA)


@pytest.mark.parametrize("text", ["", "a" * 256, "a\0b"])
def test_texts_that_nobody_has(api: httpx.Client, text: str) -> None:
    assert api.get("/api/search", params={"q": text}).status_code == 400


def test_search_ends_whatever_the_glob(world: World, api: httpx.Client, word: str) -> None:
    """What is poison for a backtracking matcher."""
    world.files(ALPHA, [f"/bomb/{word}{'a' * 180}"])
    answer = api.get("/api/search", params={"q": "*a" * 60 + "b"})
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() < 5


def test_gone_files_are_found_when_asked_for(world: World, api: httpx.Client, word: str) -> None:
    path = f"/g/{word}.txt"
    id = world.files(ALPHA, [path])[path]
    world.remove_file(ALPHA, id, path)
    assert found(api, q=word) == []
    assert found(api, q=word, deleted=True) == [f"{word}.txt"]
    file = api.get(f"/api/files/{id}").json()
    assert file["status"] == "deleted"
    assert file["deleted_at"]
