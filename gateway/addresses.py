"""Who is calling, by address, and how often one address may try.

`X-Forwarded-For` is a claim by the caller. It counts only when the connection comes from a proxy
that the configuration trusts, and then only up to the first address that no trusted proxy wrote.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from gateway.errors import TooManyAttempts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from gateway.config import Network

_WINDOW_S: Final = 60.0
_ADDRESSES: Final = 10_000


def client_address(request: Request, proxies: Sequence[Network]) -> str:
    """The caller's address as text; empty when the connection has none."""
    peer = request.client.host if request.client else ""
    if not _within(peer, proxies):
        return peer
    claimed = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for each in reversed([part.strip() for part in claimed if part.strip()]):
        if _parsed(each) is None:
            return peer
        peer = each
        if not _within(each, proxies):
            break
    return peer


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _within(text: str, networks: Sequence[Network]) -> bool:
    address = _parsed(text)
    return address is not None and any(
        address.version == network.version and address in network for network in networks
    )


class Attempts:
    """At most `limit` attempts a minute for each address; an IPv6 network counts as one."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._tried: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, address: str) -> None:
        """Count one attempt; raises TooManyAttempts."""
        key = _bucket(address)
        at = self._clock()
        tried = self._tried.setdefault(key, deque())
        self._tried.move_to_end(key)
        while tried and tried[0] <= at - _WINDOW_S:
            tried.popleft()
        if len(tried) >= self._limit:
            raise TooManyAttempts(max(1, round(tried[0] + _WINDOW_S - at)))
        tried.append(at)
        # The addresses that were quiet longest go first, so a flood cannot take all memory.
        while len(self._tried) > _ADDRESSES:
            self._tried.popitem(last=False)


def _bucket(address: str) -> str:
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed or address)
