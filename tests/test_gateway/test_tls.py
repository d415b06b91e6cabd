"""Certificates: made, renewed, brought along."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from cryptography import x509

from events.errors import Misconfigured
from events.machine.places import Places, find
from gateway import certificates
from gateway.config import GatewayConfig

if TYPE_CHECKING:
    from tests.test_gateway.world import Gateway, World

DAY = datetime.timedelta(days=1)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = find(tmp_path / "state")
    made.make()
    return made


def made(places: Places, at: datetime.datetime | None = None, **settings: tuple[str, ...]) -> bytes:
    files = certificates.prepare(places, GatewayConfig(**settings), at)  # type: ignore[arg-type]
    certificates.context(files)
    return files.certificate.read_bytes()


def test_it_is_made_once(places: Places) -> None:
    first = made(places)
    assert made(places) == first
    leaf, authority = x509.load_pem_x509_certificates(first)
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert "127.0.0.1" in [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    home = certificates.folder(places)
    assert {path.stat().st_mode & 0o777 for path in home.iterdir()} == {0o600}


def test_it_is_renewed_before_its_end_by_the_same_authority(places: Places) -> None:
    at = datetime.datetime.now(datetime.UTC)
    first = made(places)
    home = certificates.folder(places)
    authority = (home / "ca.crt").read_bytes()
    assert made(places, at + 330 * DAY) == first
    later = made(places, at + 340 * DAY)
    assert later != first
    assert (home / "ca.crt").read_bytes() == authority


def test_another_name_makes_another_one(places: Places) -> None:
    first = made(places)
    second = made(places, names=("files.example", "192.0.2.77"))
    assert second != first
    names = x509.load_pem_x509_certificate(second).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert "files.example" in names.value.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize("what", ["server.key", "server.crt"])
def test_a_lost_half_is_made_again(places: Places, what: str) -> None:
    first = made(places)
    (certificates.folder(places) / what).unlink()
    assert made(places) != first


def test_damaged_keys_are_told(places: Places) -> None:
    made(places)
    (certificates.folder(places) / "ca.key").write_text("x")
    with pytest.raises(Misconfigured, match=r"ca\.key"):
        made(places)


def test_own_files_are_used(places: Places, tmp_path: Path) -> None:
    other = find(tmp_path / "other")
    other.make()
    made(other)
    home = certificates.folder(other)
    config = GatewayConfig(
        certificate=str(home / "server.crt"), private_key=str(home / "server.key")
    )
    files = certificates.prepare(places, config)
    certificates.context(files)
    assert files.authority is None
    assert not certificates.folder(places).exists()
    broken = certificates.Files(home / "server.crt", home / "ca.key", None)
    with pytest.raises(Misconfigured, match="cannot serve TLS"):
        certificates.context(broken)


def test_it_serves_over_tls(gateway: Gateway, token: str) -> None:
    authority = gateway.status()["authority"]
    trusting = ssl.create_default_context(cafile=authority)
    base = f"https://localhost:{gateway.https}"
    with httpx.Client(base_url=base, verify=trusting) as client:
        answer = client.get("/api/auth/whoami", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        # Who once came by an own certificate must be able to come by a better one.
        assert "strict-transport-security" not in answer.headers
    with httpx.Client(base_url=base) as client, pytest.raises(httpx.ConnectError):
        client.get("/")


def test_plain_http_is_on_loopback_only_and_by_choice(world: World, gateway: Gateway) -> None:
    inet = Path("/proc/net/tcp").read_text()
    assert f"0100007F:{gateway.http:04X} 00000000:0000 0A" in inet
    other = world.gateway()
    assert other.stop() == 0
    other._arguments = ()
    other.start()
    from tests.conftest import wait_until

    wait_until(lambda: other.status().get("state") == "live", "it is live")
    assert other.status()["http"] is None
