"""Health, figures, and the API's description of itself."""

from __future__ import annotations

import os
import re
import signal
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api import ENDPOINTS
from gateway.config import KEYS, GatewayConfig
from gateway.pages import _FILES
from tests.conftest import wait_until
from tests.test_gateway.world import PASSWORD, Gateway, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from gateway.routing import Endpoint

DOCS = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()
# Pages and documents that describe the endpoints, and so are none themselves.
_PAGES = {"GET /api/openapi.json", *(f"GET {path}" for path in _FILES)}


def test_health_says_little_to_strangers(api: httpx.Client, anyone: httpx.Client) -> None:
    stranger = anyone.get("/health")
    assert stranger.status_code == 200
    assert stranger.json() == {
        "state": "ok",
        "parts": {"log": {"state": "ok"}, "view": {"state": "ok"}, "feed": {"state": "ok"}},
    }
    known = api.get("/health").json()
    assert all(part["detail"] for part in known["parts"].values())
    wrong = anyone.get("/health", headers={"authorization": "Bearer x"})
    assert wrong.status_code == 401


def test_figures(api: httpx.Client, anyone: httpx.Client, gateway: Gateway) -> None:
    assert anyone.get("/metrics").status_code == 401
    scraper = (gateway.places.keys / "metrics.token").read_text().strip()
    answer = anyone.get("/metrics", headers={"authorization": f"Bearer {scraper}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert anyone.get("/api/files", headers={"authorization": f"Bearer {scraper}"}).is_error
    api.get("/api/files", params={"limit": 5})
    text = api.get("/metrics").text
    line = re.compile(r'mosaicfs_\w+(\{\w+="[^"\n]*"(,\w+="[^"\n]*")*\})? [-+.\w]+')
    for each in text.splitlines():
        assert each.startswith(("# HELP mosaicfs_", "# TYPE mosaicfs_")) or line.fullmatch(each)
    samples = {
        each.rpartition(" ")[0]: each.rpartition(" ")[2]
        for each in text.splitlines()
        if each[0] != "#"
    }
    key = 'mosaicfs_requests_total{method="GET",route="/api/files",status="200"}'
    assert int(samples[key]) >= 1
    bucket = 'mosaicfs_request_seconds_bucket{route="/api/files",le="+Inf"}'
    assert int(samples[bucket]) >= 1
    assert samples['mosaicfs_view_lag{projector="documents",stream="CATALOG"}'] == "0"
    assert int(samples['mosaicfs_stream_messages{stream="CATALOG"}']) >= 1
    assert samples["mosaicfs_log_connected"] == "1"
    documented = set(re.findall(r"`(mosaicfs_\w+)`", DOCS))
    known = {each.split()[2] for each in text.splitlines() if each.startswith("# TYPE")}
    # There is no agent in this world, so its figure is left out.
    assert documented == known | {"mosaicfs_outbox_depth"}


def test_addresses_in_figures_are_those_of_endpoints(api: httpx.Client, word: str) -> None:
    """Or a stranger could fill the memory with names of their own."""
    for path in (f"/{word}", f"/api/files/{word}", f"/api/docs/{word}"):
        api.get(path)
        api.request(word.upper(), path)
    assert word not in api.get("/metrics").text.lower()


def test_info(api: httpx.Client) -> None:
    info = api.get("/api/system/info").json()
    assert re.fullmatch(r"\d+\.\d+\.\d+", info["version"])
    assert info["uptime_s"] >= 0
    assert info["streams"]["CATALOG"] >= 1
    assert info["sequence"].partition("-")[0].isdecimal()


def parameters(endpoint: Endpoint) -> set[str]:
    return set(endpoint.query.__struct_fields__) if endpoint.query else set()


def test_every_endpoint_is_described(anyone: httpx.Client) -> None:
    document = anyone.get("/api/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    described = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    declared = {f"{e.method} {e.path.replace(':path}', '}')}": e for e in ENDPOINTS}
    assert described.keys() == declared.keys()
    names = [operation["operationId"] for operation in described.values()]
    assert len(set(names)) == len(names)
    for name, endpoint in declared.items():
        operation = described[name]
        assert operation["summary"].endswith("."), name
        given = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
        assert given == parameters(endpoint)
    # Nothing is referred to that is not there, and nothing is there for nobody.
    text = anyone.get("/api/openapi.json").text
    used = set(re.findall(r"#/components/schemas/([\w.-]+)", text))
    assert used == document["components"]["schemas"].keys()


def test_routes_and_docs_agree() -> None:
    declared = {f"{e.method} {e.path.replace(':path}', '}')}" for e in ENDPOINTS} | _PAGES
    documented = set(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) /\S*)`", DOCS, re.MULTILINE))
    assert documented == declared


def test_settings_and_docs_agree() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", DOCS, re.MULTILINE))
    assert documented.keys() == set(KEYS)
    defaults = GatewayConfig()
    for key, text in documented.items():
        value = getattr(defaults, key)
        if text == "not set":
            assert value is None, key
        else:
            found = tomllib.loads(f"x = {text}")["x"]
            assert found == (list(value) if isinstance(value, tuple) else value), key


def test_codes_and_docs_agree() -> None:
    source = Path(__file__).parents[2] / "gateway"
    raised = set()
    for path in [*source.glob("*.py"), *source.glob("api/*.py")]:
        text = path.read_text()
        raised |= set(re.findall(r'(?:Refused|BadRequest)\(\s*"(\w+)"', text))
    raised |= set(re.findall(r'"(\w+)", \d{3}\)', (source / "problems.py").read_text()))
    raised |= set(
        re.findall(r'^    "(\w+)": \d{3}', (source / "problems.py").read_text(), re.MULTILINE)
    )
    missing = {code for code in raised if f"`{code}`" not in DOCS}
    assert not missing


def test_the_page_loads_nothing_from_elsewhere(anyone: httpx.Client) -> None:
    for path, media in (
        ("", "text/html"),
        ("/docs.js", "text/javascript"),
        ("/docs.css", "text/c"),
    ):
        answer = anyone.get(f"/api/docs{path}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media)
        assert "script-src 'self';" in answer.headers["content-security-policy"]
        assert not re.search(r"(https?:)?//\w", answer.text.replace("// Shows", ""))
        assert "innerHTML" not in answer.text
        assert " style=" not in answer.text
    page = anyone.get("/api/docs").text
    assert re.findall(r"<script[^>]*>([^<]*)", page) == [""]


def test_the_couchdb_api_is_there(anyone: httpx.Client) -> None:
    assert anyone.get("/db/").json()["couchdb"] == "Welcome"
    assert anyone.get("/db/mosaic/_all_docs").status_code == 401


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[World, Gateway]]:
    """A world whose parts may be taken away."""
    with World(tmp_path) as world:
        yield world, world.gateway()


def test_parts_may_go_and_come_back(own: tuple[World, Gateway]) -> None:
    world, gateway = own
    token = gateway.login()
    with gateway.client(token) as client:

        def state(part: str) -> str:
            return str(client.get("/health").json()["parts"][part]["state"])

        body = {"name": "n", "node": "*", "path_prefix": "/", "labels": ["a"]}
        world.server.kill()
        wait_until(lambda: state("log") == "degraded", "the log is missed")
        assert gateway.status()["state"] == "degraded"
        # Reading goes on, changing does not.
        assert client.get("/api/files").status_code == 200
        refused = client.post("/api/labels/rules", json=body)
        assert (refused.status_code, refused.json()["code"]) == (503, "log_unavailable")
        assert refused.headers["retry-after"]
        with gateway.client() as other:
            login = {"name": "admin", "password": PASSWORD}
            assert other.post("/api/auth/login", json=login).status_code == 503
        assert client.get("/metrics").status_code == 200
        world.server.start()
        wait_until(lambda: state("log") == "ok", "the log is back")
        wait_until(
            lambda: client.post("/api/labels/rules", json=body).status_code == 201, "it is stored"
        )
        world.projector.stop(signal.SIGKILL)
        wait_until(lambda: state("feed") == "degraded", "the projector is missed")
        assert client.get("/api/labels/rules").status_code == 200
        world.projector.start().wait_live()
        wait_until(lambda: state("feed") == "ok", "the projector is back")


def test_a_rebuilt_view_is_taken_up(own: tuple[World, Gateway]) -> None:
    import asyncio

    from events.machine import control

    world, gateway = own
    world.files("alpha-1", [f"/x/{n}" for n in range(50)])
    with gateway.client(gateway.login()) as client:
        before = client.get("/api/system/info").json()

        async def rebuild() -> None:
            async for _ in control.follow(world.places.socket("projector"), {"do": "rebuild"}):
                pass

        asyncio.run(rebuild())

        def taken() -> bool:
            now: dict[str, Any] = client.get("/api/system/info").json()
            return bool(now["epoch"] != before["epoch"] and now["files"] == 50)

        wait_until(taken, "the new view is read")
        body = {"name": "n", "node": "*", "path_prefix": "/", "labels": ["a"]}
        assert client.post("/api/labels/rules", json=body).status_code == 201
        links = [os.readlink(f"/proc/{gateway.pid}/fd/{fd}") for fd in _open(gateway.pid)]
        # Every thread that asks lets go of the old file; those that do not ask hold it no worse.
        assert any("documents-" in link and "(deleted)" not in link for link in links)


def _open(pid: int) -> list[str]:
    return [fd for fd in os.listdir(f"/proc/{pid}/fd") if os.path.lexists(f"/proc/{pid}/fd/{fd}")]
