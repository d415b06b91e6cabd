"""gateway.toml, limits by address, and how the process ends."""

from __future__ import annotations

import ipaddress
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from events.errors import Misconfigured
from events.machine.places import find
from gateway import config
from gateway.addresses import Attempts, client_address
from gateway.errors import TooManyAttempts
from gateway.service import admin_password
from tests.conftest import wait_until
from tests.test_gateway.world import Gateway, Process, World

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"prot": 1}, r"unknown key 'prot'; did you mean 'port'\?"),
        ({"zzz": 1}, "unknown key 'zzz'; known keys: host"),
        ({"port": "8443"}, r"port = '8443': Expected `int"),
        ({"port": 70000}, "port = 70000: Expected `int` <= 65535"),
        ({"certificate": "x.pem"}, "certificate and private_key belong together"),
        ({"host": "example.com"}, "host holds 'example.com'; give an IP address"),
        ({"trusted_proxies": ["proxy"]}, "trusted_proxies holds 'proxy'"),
        ({"allowed_origins": ["https://a.example/"]}, "allowed_origins holds"),
        ({"allowed_origins": ["*"]}, "allowed_origins holds"),
        ({"names": ["*.example"]}, "names holds"),
        ({"logins_per_minute": 0}, "logins_per_minute = 0"),
        ({"max_body_bytes": 10}, "max_body_bytes = 10"),
    ],
)
def test_what_is_wrong_is_named(raw: dict[str, Any], text: str) -> None:
    with pytest.raises(Misconfigured, match=r"^/etc/gateway\.toml: ") as caught:
        config.parse(raw, Path("/etc/gateway.toml"))
    assert caught.match(text)


def test_files(tmp_path: Path) -> None:
    places = find(tmp_path)
    assert config.load(places) == config.GatewayConfig()
    (tmp_path / "gateway.toml").write_text("port = ")
    with pytest.raises(Misconfigured, match="not valid TOML"):
        config.load(places)
    (tmp_path / "gateway.toml").write_text('certificate = "a.crt"\nprivate_key = "/b.key"')
    loaded = config.load(places)
    assert loaded.certificate == str(tmp_path / "a.crt")
    assert loaded.private_key == "/b.key"


def test_the_first_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text(" with blanks \n")
    assert admin_password(file) == " with blanks "
    monkeypatch.setenv("MOSAICFS_ADMIN_PASSWORD", "from outside")
    assert admin_password(None) == "from outside"
    monkeypatch.setenv("MOSAICFS_ADMIN_PASSWORD", "")
    assert admin_password(None) is None
    with pytest.raises(Misconfigured, match="cannot read the admin password"):
        admin_password(tmp_path)


def request(peer: str, forwarded: Sequence[str]) -> Request:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    return Request({"type": "http", "headers": headers, "client": (peer, 1)})


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.0.0.7"], "1.2.3.4"),
        ("10.0.0.1", ["rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4, rubbish"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_who_calls(peer: str, forwarded: list[str], found: str) -> None:
    proxies = [ipaddress.ip_network("10.0.0.0/8")]
    assert client_address(request(peer, forwarded), proxies) == found


@given(
    limit=st.integers(1, 4),
    tries=st.lists(st.tuples(st.sampled_from(["a", "::1", "::2"]), st.integers(0, 40))),
)
def test_no_minute_has_more_attempts_than_allowed(limit: int, tries: list[tuple[str, int]]) -> None:
    at = 0.0
    attempts = Attempts(limit, lambda: at)
    allowed: dict[str, list[float]] = {"a": [], "v6": []}
    for address, pause in tries:
        at += pause
        name = "a" if address == "a" else "v6"
        recent = [each for each in allowed[name] if each > at - 60]
        if len(recent) < limit:
            attempts.count(address)
            allowed[name].append(at)
        else:
            with pytest.raises(TooManyAttempts) as caught:
                attempts.count(address)
            assert 1 <= caught.value.retry_after <= 60


def test_a_flood_of_addresses_takes_no_memory() -> None:
    attempts = Attempts(1, lambda: 0.0)
    for number in range(20_000):
        attempts.count(str(ipaddress.ip_address(number)))
    assert len(attempts._tried) == 10_000


def test_a_taken_port_is_told(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        places = find(world.folder / "taken")
        places.make()
        (places.nats / "url").write_text(world.server.url)
        (places.config / "gateway.toml").write_text(f'host = "127.0.0.1"\nport = {port}\n')
        process = Process("gateway", places).start()
        wait_until(lambda: not process.running, "it ends")
        assert f"port {port} is taken by another program" in process.said
        assert "Traceback" not in process.said


def test_what_runs_is_answered_before_the_end(world: World) -> None:
    gateway = world.gateway()
    token = gateway.login()
    with socket.create_connection(("127.0.0.1", gateway.http), 10) as client:
        body = b'{"name": "n", "node": "*", "path_prefix": "/none/", "labels": ["late"]}'
        client.sendall(
            f"POST /api/labels/rules HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body[:10]
        )
        wait_until(lambda: gateway.status()["connections"] >= 1, "the request is there")
        _running(gateway, token)
        codes: list[int] = []
        stopping = threading.Thread(target=lambda: codes.append(gateway.stop(signal.SIGTERM)))
        stopping.start()
        wait_until(lambda: _refuses(gateway.http), "nobody new is let in")
        client.sendall(body[10:])
        assert client.recv(4096).startswith(b"HTTP/1.1 201 ")
    stopping.join(20)
    assert codes == [0]
    assert not gateway.places.socket("gateway").exists()


def _running(gateway: Gateway, token: str) -> None:
    with gateway.client(token) as other:
        wait_until(
            # The other one, and the one that asks.
            lambda: "mosaicfs_requests_running 2" in other.get("/metrics").text,
            "the request runs",
        )


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
