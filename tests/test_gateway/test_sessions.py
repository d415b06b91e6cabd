"""Logging in and out, and what passes for a token."""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from events import connection, consume
from events.codec import decode
from events.vocabulary.notices import AuditRecorded
from tests.conftest import wait_until
from tests.test_gateway.world import PASSWORD, Gateway, World

if TYPE_CHECKING:
    from pathlib import Path

    import httpx


def key_of(gateway: Gateway) -> bytes:
    return bytes.fromhex((gateway.places.keys / "jwt.key").read_text().strip())


def claims_of(token: str, key: bytes) -> dict[str, Any]:
    return jwt.decode(token, key, algorithms=["HS256"])


def whoami(gateway: Gateway, token: str) -> int:
    with gateway.client(token) as client:
        return client.get("/api/auth/whoami").status_code


def audit(world: World) -> list[AuditRecorded]:
    async def read() -> list[AuditRecorded]:
        log = await connection.connect(world.server.url, name="test")
        try:
            return [
                event
                async for batch in consume.read(log, "AUDIT")
                for message in batch
                if isinstance(
                    event := decode(message.subject, message.headers, message.body).event,
                    AuditRecorded,
                )
            ]
        finally:
            await log.close()

    return asyncio.run(read())


def test_login_whoami_logout(gateway: Gateway) -> None:
    token = gateway.login()
    other = gateway.login()
    with gateway.client(token) as client:
        who = client.get("/api/auth/whoami")
        assert who.status_code == 200
        assert who.json()["name"] == "admin"
        assert who.json()["roles"] == ["admin"]
        gone = client.post("/api/auth/logout")
        assert (gone.status_code, gone.content) == (204, b"")
        after = client.get("/api/auth/whoami")
        assert after.status_code == 401
        assert after.headers["www-authenticate"].startswith("Bearer")
        assert after.headers["content-type"] == "application/problem+json"
        assert after.json()["code"] == "unauthenticated"
    assert whoami(gateway, other) == 200


def test_a_token_lasts_a_day(gateway: Gateway, token: str) -> None:
    claims = claims_of(token, key_of(gateway))
    assert claims["exp"] - claims["iat"] == 24 * 3600


@pytest.mark.parametrize(
    "body",
    [
        {"name": "admin", "password": "wrong"},
        {"name": "nobody", "password": PASSWORD},
        {"name": "", "password": ""},
        {"name": "a\0b", "password": "x\0"},
        {"name": "ädmin\n", "password": "ü"},
    ],
)
def test_every_wrong_login_is_answered_alike(anyone: httpx.Client, body: dict[str, str]) -> None:
    answer = anyone.post("/api/auth/login", json=body)
    assert answer.status_code == 401
    assert answer.json() == {
        "type": "urn:mosaicfs:problem:unauthenticated",
        "title": "Unauthorized",
        "status": 401,
        "code": "unauthenticated",
        "detail": "name or password is wrong",
    }


def test_an_unknown_name_takes_as_long_as_a_known_one(anyone: httpx.Client) -> None:
    def took(name: str) -> float:
        began = time.perf_counter()
        anyone.post("/api/auth/login", json={"name": name, "password": "wrong"})
        return time.perf_counter() - began

    known, unknown = [], []
    for number in range(12):
        known.append(took("admin"))
        unknown.append(took(f"nobody{number}"))
    # Without the hash of nobody it would be a tenth.
    assert statistics.median(unknown) > statistics.median(known) / 2


def forged(case: str, token: str, gateway: Gateway) -> str:
    key = key_of(gateway)
    claims = claims_of(token, key)
    header, body, signature = token.split(".")

    def plain(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    def signed(**changes: object) -> str:
        return jwt.encode({**claims, **changes}, key, algorithm="HS256")

    return {
        "alg none": f"{plain({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        "alg None": f"{plain({'alg': 'None', 'typ': 'JWT'})}.{body}.",
        "alg none, old signature": f"{plain({'alg': 'none'})}.{body}.{signature}",
        "wrong key": jwt.encode(claims, b"x" * 32, algorithm="HS256"),
        "empty key": jwt.encode(claims, b"0" * 32, algorithm="HS256"),
        "other algorithm": jwt.encode(claims, key * 2, algorithm="HS512"),
        "expired": signed(exp=int(time.time()) - 1),
        "no expiry": jwt.encode(
            {name: value for name, value in claims.items() if name != "exp"}, key, "HS256"
        ),
        "other use": signed(use="download"),
        "other issuer": signed(iss="somebody"),
        "other epoch": signed(epoch=claims["epoch"] + 1),
        "other account": signed(sub="nobody"),
        "account of odd type": signed(sub=["admin"]),
        "changed body": f"{header}.{plain({**claims, 'sub': 'root'})}.{signature}",
        "no signature": f"{header}.{body}.",
        "garbage": "a.b.c",
        "one dot": "a.b",
        "empty": ".",
        "long": "a" * 20_000,
    }[case]


@pytest.mark.parametrize(
    "case",
    [
        *("alg none", "alg None", "alg none, old signature", "wrong key", "empty key"),
        *("other algorithm", "expired", "no expiry", "other use", "other issuer", "other epoch"),
        *("other account", "account of odd type", "changed body", "no signature", "garbage"),
        *("one dot", "empty", "long"),
    ],
)
def test_forged_tokens_are_refused(gateway: Gateway, token: str, case: str) -> None:
    assert whoami(gateway, forged(case, token, gateway)) == 401


@pytest.mark.parametrize("header", ["", "Bearer", "Basic YTpi", "Token x", "Bearer a b", ","])
def test_other_proofs_are_refused(anyone: httpx.Client, header: str) -> None:
    answer = anyone.get("/api/auth/whoami", headers={"authorization": header})
    assert answer.status_code == 401


def test_logout_and_key_survive_a_restart(world: World) -> None:
    gateway = world.gateway()
    kept, given_up = gateway.login(), gateway.login()
    with gateway.client(given_up) as client:
        client.post("/api/auth/logout")
    assert gateway.stop() == 0
    gateway.start()
    gateway.wait_live()
    assert whoami(gateway, kept) == 200
    assert whoami(gateway, given_up) == 401


def test_a_flood_of_logins_is_stopped(world: World) -> None:
    gateway = world.gateway()
    with gateway.client() as client:
        codes = []
        for number in range(8):
            answer = client.post(
                "/api/auth/login",
                json={"name": "admin", "password": "wrong"},
                # As if each came from somewhere else.
                headers={"x-forwarded-for": f"203.0.113.{number}", "forwarded": "for=1.2.3.4"},
            )
            codes.append(answer.status_code)
        assert codes == [401] * 5 + [429] * 3
        assert answer.json()["code"] == "too_many_attempts"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        # Not even the right password is looked at.
        right = client.post("/api/auth/login", json={"name": "admin", "password": PASSWORD})
        assert right.status_code == 429


def test_a_trusted_proxy_may_say_who_calls(world: World) -> None:
    gateway = world.gateway(settings='trusted_proxies = ["127.0.0.1"]\nlogins_per_minute = 1')

    def login(address: str) -> int:
        with gateway.client() as client:
            return client.post(
                "/api/auth/login",
                json={"name": "admin", "password": "wrong"},
                headers={"x-forwarded-for": address},
            ).status_code

    assert login("203.0.113.1") == 401
    assert login("203.0.113.1") == 429
    # What stands before the proxy's own word is a claim of the caller.
    assert login("198.51.100.7, 203.0.113.1") == 429
    assert login("203.0.113.2") == 401


def test_another_password_ends_every_session(world: World, gateway: Gateway) -> None:
    first, second = gateway.login(), gateway.login()
    new = "another good password"
    with gateway.client(first) as client:
        change = "/api/auth/password"
        wrong = client.post(change, json={"present": "wrong", "new": new})
        assert wrong.status_code == 401
        short = client.post(change, json={"present": PASSWORD, "new": "short"})
        assert short.status_code == 422
        changed = client.post(change, json={"present": PASSWORD, "new": new})
        assert changed.status_code == 200, changed.text
        answer = changed.json()
        assert answer["stream"] == "CATALOG"
        fresh = answer["session"]["token"]
    try:
        assert [whoami(gateway, each) for each in (first, second, fresh)] == [401, 401, 200]
        with gateway.client() as client:
            body = {"name": "admin", "password": PASSWORD}
            assert client.post("/api/auth/login", json=body).status_code == 401
        assert gateway.login(new)
    finally:
        with gateway.client(fresh) as client:
            back = {"present": new, "new": PASSWORD}
            assert client.post("/api/auth/password", json=back).status_code == 200


def test_logins_are_audited_without_secrets(world: World, anyone: httpx.Client, word: str) -> None:
    for name, password in ((word, f"secret-{word}"), ("admin", PASSWORD)):
        anyone.post("/api/auth/login", json={"name": name, "password": password})
    events = audit(world)
    refused = [event for event in events if event.subject == word]
    assert [(event.action, event.outcome, event.address) for event in refused] == [
        ("login", "refused", "127.0.0.1")
    ]
    assert (events[-1].action, events[-1].outcome, events[-1].subject) == ("login", "ok", "admin")
    assert f"secret-{word}" not in repr(events)
    assert PASSWORD not in repr(events)


def test_a_made_up_password_is_shown_once(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        gateway = world.gateway(password=None)
        wait_until(lambda: "The password of admin is" in gateway.said, "it is shown")
        password = gateway.said.partition("The password of admin is ")[2].split()[0]
        assert len(password) == 20
        assert gateway.login(password)
        gateway.stop()
        gateway.start()
        gateway.wait_live()
        assert gateway.said.count("The password of admin is") == 1
        assert password not in (world.server.folder / "server.log").read_text()


def test_secret_files_are_for_the_owner_only(gateway: Gateway) -> None:
    gateway.login()
    secrets = [
        *gateway.places.keys.glob("*.key"),
        *gateway.places.keys.glob("*.token"),
        *gateway.places.keys.glob("tls/*.key"),
        gateway.places.state / "gateway" / "revoked.db",
    ]
    assert len(secrets) == 5
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
