"""TLS: an own authority and server certificate, made at the first run, or the ones brought along.

The authority lives ten years and is what other machines pin. The server's certificate lives a year
and is made anew 30 days before its end, and when the machine has another name or address.
"""

from __future__ import annotations

import datetime
import ipaddress
import logging
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from events.errors import Misconfigured
from gateway import keyfiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from events.machine.places import Places
    from gateway.config import GatewayConfig

_logger = logging.getLogger(__name__)

_CA_DAYS: Final = 3650
_SERVER_DAYS: Final = 365
_RENEW_DAYS: Final = 30
_DAY: Final = datetime.timedelta(days=1)


class Files(NamedTuple):
    """Where certificate and key lie; `authority` is None for those brought along."""

    certificate: Path
    private_key: Path
    authority: Path | None


def folder(places: Places) -> Path:
    return places.keys / "tls"


def prepare(places: Places, config: GatewayConfig, at: datetime.datetime | None = None) -> Files:
    """The files to serve with; makes and renews our own when they are wanted."""
    if config.certificate is not None and config.private_key is not None:
        return Files(Path(config.certificate), Path(config.private_key), None)
    at = at or datetime.datetime.now(datetime.UTC)
    home = folder(places)
    files = Files(home / "server.crt", home / "server.key", home / "ca.crt")
    ca_key, ca = _authority(home, at)
    names = sorted(set(_own_names()) | set(config.names))
    if not _serves(files, ca, names, at):
        _issue(files, ca_key, ca, names, at)
        _logger.info("made a server certificate", extra={"names": ", ".join(names)})
    return files


def context(files: Files) -> ssl.SSLContext:
    """A server context; raises Misconfigured for files that do not fit."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    load(tls, files)
    return tls


def load(tls: ssl.SSLContext, files: Files) -> None:
    """Have the context use the files as they are now; connections that are open keep theirs."""
    try:
        tls.load_cert_chain(files.certificate, files.private_key)
    except (OSError, ssl.SSLError) as wrong:
        raise Misconfigured(
            f"cannot serve TLS with {files.certificate} and {files.private_key}: {wrong}"
        ) from wrong


def fingerprint(certificate: Path) -> str:
    """SHA-256 of a certificate, as people compare it."""
    digest = x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(hashes.SHA256())
    return ":".join(f"{byte:02X}" for byte in digest)


def expires(certificate: Path) -> datetime.datetime:
    """When a certificate ends."""
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


def _own_names() -> list[str]:
    """What this machine is called: loopback, its names, its addresses."""
    names = ["localhost", "127.0.0.1", "::1"]
    host = socket.gethostname()
    names += [host, socket.getfqdn()]
    try:
        names += [str(each[4][0]).partition("%")[0] for each in socket.getaddrinfo(host, None)]
    except OSError:
        _logger.debug("the host's own name does not resolve")
    names += _outward()
    return [name for name in dict.fromkeys(names) if name and _san(name) is not None]


def _outward() -> list[str]:
    """The addresses that this machine would use to reach others; nothing is sent."""
    found = []
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found.append(str(probe.getsockname()[0]).partition("%")[0])
        except OSError:
            continue
    return found


def _san(name: str) -> x509.GeneralName | None:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode())
    except (UnicodeError, ValueError):
        return None


def _authority(
    home: Path, at: datetime.datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key_file, certificate_file = home / "ca.key", home / "ca.crt"
    if key_file.exists() and certificate_file.exists():
        key = _read_key(key_file)
        certificate = _read_certificate(certificate_file)
        if certificate.public_key() != key.public_key():
            raise Misconfigured(f"{certificate_file} and {key_file} do not belong together")
        if at < certificate.not_valid_after_utc - _RENEW_DAYS * _DAY:
            return key, certificate
        _logger.warning(
            "the own authority ends; a new one is made, and other machines must join it"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"MosaicFS {socket.gethostname()}"[:64])]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _DAY)
        .not_valid_after(at + _CA_DAYS * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    keyfiles.write(key_file, _pem(key))
    keyfiles.write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    _logger.info("made an own authority", extra={"fingerprint": fingerprint(certificate_file)})
    return key, certificate


def _serves(
    files: Files, ca: x509.Certificate, names: Iterable[str], at: datetime.datetime
) -> bool:
    """Whether the server's certificate is there, ours, young enough, and has every name."""
    if not files.certificate.exists() or not files.private_key.exists():
        return False
    certificate = _read_certificate(files.certificate)
    if certificate.public_key() != _read_key(files.private_key).public_key():
        return False
    try:
        certificate.verify_directly_issued_by(ca)
    except Exception:  # noqa: BLE001  # whatever is wrong with it, another one is made
        return False
    has = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    wanted = [general for name in names if (general := _san(name)) is not None]
    young = at < certificate.not_valid_after_utc - _RENEW_DAYS * _DAY
    return young and all(general in has for general in wanted)


def _issue(
    files: Files,
    ca_key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    names: list[str],
    at: datetime.datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [general for name in names if (general := _san(name)) is not None]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "MosaicFS gateway")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _DAY)
        .not_valid_after(min(at + _SERVER_DAYS * _DAY, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    # The key first: a certificate without its key is noticed and made again.
    keyfiles.write(files.private_key, _pem(key))
    # With the authority behind it, so that a machine that joins can pin what it is shown.
    chain = (certificate, ca)
    pem = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain)
    keyfiles.write(files.certificate, pem)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as wrong:
        raise Misconfigured(f"cannot read the key {path}: {wrong}") from wrong
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Misconfigured(f"{path} is not a key of ours")
    return key


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as wrong:
        raise Misconfigured(f"cannot read the certificate {path}: {wrong}") from wrong
