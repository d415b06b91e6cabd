"""Who asks, in the ways CouchDB clients prove it: bearer token, `AuthSession` cookie, basic login.

A basic login names its password with every request. Checking one takes a core for a moment and
counts against the limit of logins, so the session that it makes is kept and used again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from gateway.couch.answers import missing
from gateway.couch.databases import DATABASES, Database
from gateway.errors import Unauthenticated

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.couch.needs import Needs, Principal

COOKIE: Final = "AuthSession"
_KEPT: Final = 1000


class Callers:
    """Tells who a request comes from, and which databases exist for them."""

    def __init__(self, context: Needs) -> None:
        self._context = context
        # The session of a basic login, under a keyed hash of what was sent.
        self._key = secrets.token_bytes(32)
        self._sessions: OrderedDict[bytes, str] = OrderedDict()
        self._checking: dict[bytes, asyncio.Lock] = {}

    async def who(self, request: Request) -> Principal:
        """The caller; raises Unauthenticated."""
        scheme, _, proof = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            return await self._basic(request, proof.strip())
        if not scheme and (cookie := request.cookies.get(COOKIE)):
            return await self._context.people.check(cookie)
        return await self._context.principal(request)

    async def database(self, request: Request) -> tuple[Database, Principal]:
        """The database of the path; one that the caller may not see does not exist."""
        who = await self.who(request)
        database = DATABASES.get(request.path_params["db"])
        if database is None or not database.open_to(who.roles):
            raise missing("Database does not exist.")
        return database, who

    async def _basic(self, request: Request, proof: str) -> Principal:
        try:
            name, colon, password = base64.b64decode(proof, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Unauthenticated("name or password is wrong") from None
        if not colon:
            raise Unauthenticated("name or password is wrong")
        mark = blake2b(proof.encode(), key=self._key).digest()
        # Ten requests at once with one password are one login.
        lock = self._checking.setdefault(mark, asyncio.Lock())
        try:
            async with lock:
                if (token := self._sessions.get(mark)) is not None:
                    try:
                        return await self._context.people.check(token)
                    except Unauthenticated:
                        del self._sessions[mark]
                people = self._context.people
                session = await people.login(name, password, people.address(request))
                self._sessions[mark] = session.token
                while len(self._sessions) > _KEPT:
                    self._sessions.popitem(last=False)
                return session.principal
        finally:
            if not lock.locked():
                self._checking.pop(mark, None)
