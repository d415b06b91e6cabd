"""What nobody means well with: refused, or served, and the gateway lives on."""

from __future__ import annotations

import gzip
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.metrics import Metrics
from gateway.middleware import Guard
from tests.test_gateway.world import ALPHA, Gateway, World

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tests.conftest import LogRecords

RULES = "/api/labels/rules"


def alive(gateway: Gateway) -> bool:
    with gateway.client() as client:
        return client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"name": "\xff"}', 400),
        (b'{"name": "\\ud800"}', 400),
        # The first thing that is wrong counts.
        (b"{}x", 422),
        (b"[" * 100_000, 422),
        (b'{"a":' * 50_000, 422),
        (b'{"labels": [' + b"[" * 100_000, 422),
        (b"null", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b"1e999", 422),
        (b'{"name": 1}', 422),
    ],
)
def test_malformed_bodies(api: httpx.Client, body: bytes, status: int) -> None:
    answer = api.post(RULES, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status


@pytest.mark.parametrize("media", ["", "text/plain", "application/x-www-form-urlencoded", "json"])
def test_other_media(api: httpx.Client, media: str) -> None:
    answer = api.post(RULES, content=b"{}", headers={"content-type": media})
    assert answer.status_code == 415


def test_large_bodies_are_not_read(gateway: Gateway, token: str) -> None:
    with socket.create_connection(("127.0.0.1", gateway.http), 10) as client:
        client.sendall(
            f"POST {RULES} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
            "content-type: application/json\r\ncontent-length: 9999999999999\r\n\r\n".encode()
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")
    with gateway.client(token) as api:
        # Without a length it is counted while it comes.
        chunks = (b" " * 65536 for _ in range(1000))
        try:
            answer = api.post(RULES, content=chunks, headers={"content-type": "application/json"})
        except httpx.WriteError:
            # The server hung up before everything was sent.
            pass
        else:
            assert answer.status_code == 413
    assert alive(gateway)


def test_nobody_makes_the_server_read_before_it_knows_who_asks(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.http), 10) as client:
        client.sendall(
            f"POST {RULES} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            "content-length: 100000\r\n\r\n".encode()
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nbroken header\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        (
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
            b"content-length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
        ),
        b"BREW /api/files HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET " + b"/" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 20_000 + b"connection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade, close\r\nhost: x\r\n\r\n",
    ],
)
def test_malformed_requests(gateway: Gateway, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", gateway.http), 5) as client:
        try:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(65536)
        except ConnectionError:
            answer = b""
        assert not answer.startswith(b"HTTP/1.1 2"), answer
        assert not answer.startswith(b"HTTP/1.1 5"), answer
    assert alive(gateway)


def test_slow_requests_are_cut_off(world: World) -> None:
    gateway = world.gateway(settings="header_seconds = 0.3\nbody_seconds = 0.3")
    began = time.monotonic()
    starts = [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nhost: x\r\nx: y",
        (
            b"POST /api/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b'content-length: 30\r\n\r\n{"name"'
        ),
    ]
    for start in starts:
        with socket.create_connection(("127.0.0.1", gateway.http), 10) as client:
            client.sendall(start)
            try:
                while client.recv(4096):
                    pass
            except ConnectionResetError:
                continue
    assert time.monotonic() - began < 8
    assert alive(gateway)


def _hung_up(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_trickle_does_not_win_time(world: World) -> None:
    gateway = world.gateway(settings="header_seconds = 0.5")
    with socket.create_connection(("127.0.0.1", gateway.http), 10) as client:
        client.settimeout(0.05)
        began = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\n")
        while not _hung_up(client):
            assert time.monotonic() - began < 10
            try:
                client.sendall(b"x: y\r\n")
            except ConnectionError:
                break
    assert time.monotonic() - began < 5


def test_no_answer_has_a_header_of_the_callers_making(api: httpx.Client, word: str) -> None:
    evil = f"{word}\r\nset-cookie: a=b"
    made = api.post(
        RULES, json={"name": evil, "node": ALPHA, "path_prefix": "/none/", "labels": ["a"]}
    )
    assert "set-cookie" not in made.headers
    for path in (
        "/api/files/x%0d%0aset-cookie:%20a=b",
        "/api/labels/rules/%0d%0aset-cookie:%20a=b",
        "/x%0d%0aset-cookie:%20a=b",
        "/api/nodes/%0d%0a",
    ):
        answer = api.get(path)
        assert answer.status_code in (400, 404)
        assert "set-cookie" not in answer.headers


@pytest.mark.anyio
@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\0b"])
async def test_an_answer_with_a_line_break_in_a_header_is_not_sent(
    value: bytes, our_log: LogRecords
) -> None:
    our_log.expect("a request failed")

    async def leaky(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-disposition", value)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x"})

    transport = httpx.ASGITransport(Guard(leaky, Metrics(b"x")))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "content-disposition" not in answer.headers
    assert answer.json()["code"] == "internal"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:1", 403),
        ("http://[", 403),
        (None, 401),
        ("SELF", 401),
    ],
)
def test_other_origins_change_nothing(gateway: Gateway, origin: str | None, status: int) -> None:
    headers = {} if origin is None else {"origin": origin}
    if origin == "SELF":
        headers = {"origin": gateway.base}
    with gateway.client() as client:
        answer = client.post("/api/auth/logout", headers=headers)
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers


def test_an_allowed_origin_is_allowed(world: World) -> None:
    gateway = world.gateway(settings='allowed_origins = ["https://ours.example"]')
    with gateway.client() as client:
        asked = {
            "origin": "https://ours.example",
            "access-control-request-method": "PUT",
            "access-control-request-headers": "authorization, if-match",
        }
        allowed = client.options("/api/files", headers=asked)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://ours.example"
        for other in ("https://ours.example.evil.example", "https://OURS.example.", "null"):
            refused = client.options("/api/files", headers={**asked, "origin": other})
            assert "access-control-allow-origin" not in refused.headers
        said = client.post("/api/auth/logout", headers={"origin": "https://ours.example"})
        assert said.status_code == 401
        assert said.headers["access-control-allow-origin"] == "https://ours.example"


@pytest.mark.parametrize("path", ["/", "/api/files", "/health", "/api/docs", "/api/openapi.json"])
def test_every_answer_has_the_security_headers(anyone: httpx.Client, path: str) -> None:
    headers = anyone.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "server" not in headers


def test_large_answers_are_compressed_when_wanted(gateway: Gateway, token: str) -> None:
    with gateway.client(token) as client:
        plain = client.get("/api/nodes", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        refused = client.get("/api/nodes", headers={"accept-encoding": "gzip;q=0"})
        assert "content-encoding" not in refused.headers
        with client.stream("GET", "/api/nodes", headers={"accept-encoding": "br, gzip"}) as packed:
            raw = b"".join(packed.iter_raw())
        if len(plain.content) >= 1024:
            assert packed.headers["content-encoding"] == "gzip"
            assert "accept-encoding" in packed.headers["vary"]
            assert json.loads(gzip.decompress(raw)) == plain.json()


def test_an_unchanged_answer_is_not_sent_again(api: httpx.Client) -> None:
    first = api.get("/api/labels/rules")
    tag = first.headers["etag"]
    for given in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
        answer = api.get("/api/labels/rules", headers={"if-none-match": given})
        assert (answer.status_code, answer.content) == (304, b""), given
        assert answer.headers["etag"] == tag
    other: dict[str, Any] = {"if-none-match": '"x"'}
    assert api.get("/api/labels/rules", headers=other).status_code == 200


def test_other_methods_are_refused_by_name(api: httpx.Client) -> None:
    answer = api.delete("/api/files")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"
    assert api.post("/api/labels/rules/x").headers["allow"] == "DELETE, GET, HEAD, PUT"
    head = api.head("/api/files")
    assert (head.status_code, head.content) == (200, b"")
