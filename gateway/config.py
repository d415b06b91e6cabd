"""gateway.toml: where the gateway listens, what it trusts, what it limits.

Strict, as agent.toml is: an unknown key or a value of the wrong kind is refused with the file, the
key and the mend. Without a file everything has its default.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec

from events.errors import Misconfigured

if TYPE_CHECKING:
    from events.machine.places import Places

FILE: Final = "gateway.toml"

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one gateway; each is described in docs/gateway.md."""

    # This machine only, until somebody says otherwise.
    host: str = "127.0.0.1"
    port: Port = 8443
    http_loopback: Port | None = None
    certificate: str | None = None
    private_key: str | None = None
    names: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1024, le=16 * 1024 * 1024)] = 512 * 1024
    max_page: Annotated[int, msgspec.Meta(ge=10, le=10_000)] = 1000
    max_connections: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 2000
    header_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 10.0
    body_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0
    stalled_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    shutdown_seconds: Annotated[int, msgspec.Meta(ge=1, le=600)] = 20
    token_hours: Annotated[float, msgspec.Meta(gt=0, le=720)] = 24.0
    logins_per_minute: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5

    @property
    def proxies(self) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(each) for each in self.trusted_proxies)


KEYS: Final = GatewayConfig.__struct_fields__


def load(places: Places) -> GatewayConfig:
    """The settings of this instance; raises Misconfigured."""
    path = places.config / FILE
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raw = {}
    except OSError as wrong:
        raise Misconfigured(f"cannot read {path}: {wrong.strerror}") from wrong
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise Misconfigured(f"{path} is not valid TOML: {wrong}") from None
    return parse(raw, path)


def parse(raw: dict[str, Any], path: Path) -> GatewayConfig:
    """The settings in a decoded file; `path` is for error texts, and for relative paths in it."""
    for key, value in raw.items():
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            mend = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(KEYS)}"
            raise Misconfigured(f"{path}: unknown key {key!r}; {mend}")
        try:
            msgspec.convert({key: value}, GatewayConfig)
        except msgspec.ValidationError as wrong:
            text = str(wrong).partition(" - at")[0]
            raise Misconfigured(f"{path}: {key} = {value!r}: {text}") from None
    config = msgspec.convert(raw, GatewayConfig)
    _check(config, path)
    folder = path.parent
    return msgspec.structs.replace(
        config,
        certificate=_absolute(config.certificate, folder),
        private_key=_absolute(config.private_key, folder),
    )


def _check(config: GatewayConfig, path: Path) -> None:
    if (config.certificate is None) != (config.private_key is None):
        raise Misconfigured(f"{path}: certificate and private_key belong together; give both")
    for key, each in [
        *(("trusted_proxies", each) for each in config.trusted_proxies),
        *([("host", config.host)] if config.host else []),
    ]:
        try:
            ipaddress.ip_network(each)
        except ValueError:
            raise Misconfigured(f"{path}: {key} holds {each!r}; give an IP address") from None
    for origin in config.allowed_origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin:
            raise Misconfigured(
                f'{path}: allowed_origins holds {origin!r}; an origin is "https://host" or '
                '"https://host:port"'
            )
    for name in config.names:
        if not name or (any(character in name for character in " /:*\0") and not _is_address(name)):
            raise Misconfigured(f"{path}: names holds {name!r}; give a host name or an IP address")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _absolute(given: str | None, folder: Path) -> str | None:
    return None if given is None else str(folder / Path(given).expanduser())
