"""Session tokens: JWT, HS256, one key. Nothing else is accepted."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

import jwt
import msgspec

from gateway.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable

_ALGORITHM: Final = "HS256"
_ISSUER: Final = "mosaicfs"
_USE: Final = "session"
# Longer than any of ours; a megabyte of header is not worth looking at.
_LONGEST: Final = 2048
_REMEMBERED: Final = 512


class Claims(msgspec.Struct, frozen=True):
    """What a session token says. `epoch` is the account's token_epoch when it was given."""

    sub: str
    jti: str
    iat: int
    exp: int
    epoch: int
    use: str


class Tokens:
    """Makes and checks tokens. Whether one was revoked is not asked here."""

    def __init__(
        self, key: bytes, lifetime_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._lifetime_s = lifetime_s
        self._clock = clock
        # Tokens whose signature was found right; a signature does not turn wrong later.
        self._known: dict[str, Claims] = {}

    def make(self, name: str, epoch: int) -> tuple[str, Claims]:
        """A new token for an account."""
        at = int(self._clock())
        claims = Claims(
            name, secrets.token_urlsafe(16), at, at + int(self._lifetime_s), epoch, _USE
        )
        body = {**msgspec.to_builtins(claims), "iss": _ISSUER}
        return jwt.encode(body, self._key, algorithm=_ALGORITHM), claims

    def check(self, token: str) -> Claims:
        """The claims of a token that is ours, of this use, and not expired."""
        claims = self._known.get(token)
        if claims is None:
            claims = self._verified(token)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[token] = claims
        if self._clock() >= claims.exp:
            raise Unauthenticated("log in again")
        return claims

    def _verified(self, token: str) -> Claims:
        if len(token) > _LONGEST:
            raise Unauthenticated("log in again")
        try:
            body = jwt.decode(
                token,
                self._key,
                # The one algorithm, whatever the token's own header says.
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                # The expiry is checked by `check`, with our clock, at every use.
                options={"require": ["exp", "iat", "sub", "jti"], "verify_exp": False},
            )
            claims = msgspec.convert(body, Claims)
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError, RecursionError):
            raise Unauthenticated("log in again") from None
        if claims.use != _USE:
            raise Unauthenticated("log in again")
        return claims
