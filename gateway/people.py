"""People: accounts, passwords, sessions.

Accounts are documents like any other, so every gateway on the log knows them; what is kept here is
the key that signs sessions and the list of those that were given up.
"""

from __future__ import annotations

import asyncio
import secrets
import string
from typing import TYPE_CHECKING, Any, Final, Literal

import argon2
import msgspec

from events.append import append
from events.clock import now
from events.codec import encode
from events.commands import CreateUser, EditUser
from events.errors import Refused
from events.ids import new_uuid, user_doc
from events.vocabulary.catalog import UserBody
from events.vocabulary.notices import AuditRecorded
from gateway import keyfiles
from gateway.addresses import Attempts, client_address
from gateway.errors import Forbidden, Invalid, Unauthenticated
from gateway.revoked import Revoked
from gateway.tokens import Claims, Tokens
from projectors.feed import FeedTimeout

if TYPE_CHECKING:
    from starlette.requests import Request

    from events.connection import Connection
    from events.machine.places import Places
    from gateway.commands import Commands, Committed
    from gateway.config import GatewayConfig
    from gateway.views import Views
    from projectors.feed import Line

ADMIN: Final = "admin"
_PASSWORD_CHARACTERS: Final = string.ascii_letters + string.digits
SHORTEST_PASSWORD: Final = 8
LONGEST_PASSWORD: Final = 1024
# Each check of a password takes 19 MiB and a core for a moment.
_CHECKS_AT_ONCE: Final = 2
_HASHER: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class Account(msgspec.Struct, frozen=True):
    """An account as the view has it."""

    name: str
    password_hash: str
    roles: list[str]
    token_epoch: int
    generation: int


class Principal(msgspec.Struct, frozen=True):
    """Who asks."""

    name: str
    roles: tuple[str, ...]
    claims: Claims


class Session(msgspec.Struct, frozen=True):
    """A login: the token, and when it ends (seconds since the epoch)."""

    token: str
    principal: Principal


class People:
    """Logs people in and out, and tells who a request comes from."""

    def __init__(
        self,
        places: Places,
        config: GatewayConfig,
        log: Connection,
        views: Views,
        commands: Commands,
    ) -> None:
        self._log = log
        self._views = views
        self._commands = commands
        self._proxies = config.proxies
        self.tokens = Tokens(keyfiles.key(places.keys / "jwt.key"), config.token_hours * 3600)
        self._revoked = Revoked(places.state / "gateway" / "revoked.db")
        self._attempts = Attempts(config.logins_per_minute)
        self._checking = asyncio.Semaphore(_CHECKS_AT_ONCE)
        # Checked for names that do not exist, so that their answer takes as long.
        self._nobody = _HASHER.hash(secrets.token_hex(16))
        self._accounts: dict[str, Account | None] = {}
        views.feed.listen(self._heard)

    def _heard(self, line: Line) -> None:
        if line.docs is None:
            self._accounts.clear()
            return
        for doc in line.docs:
            if doc.startswith("user::"):
                self._accounts.pop(doc.removeprefix("user::"), None)

    async def account(self, name: str) -> Account | None:
        """The account of that name."""
        if name in self._accounts:
            return self._accounts[name]
        n = self._views.feed.n
        doc = user_doc(name)
        body = await self._views.read(lambda view: view.document(doc))
        account = None if body is None else _account(body)
        # What was read before a commit must not be remembered after it. Names that do not exist
        # are not remembered at all: callers could invent any number of them.
        if account is not None and n == self._views.feed.n:
            self._accounts[name] = account
        return account

    def address(self, request: Request) -> str:
        """The caller's address, for limits and audit."""
        return client_address(request, self._proxies)

    # Sessions

    async def login(self, name: str, password: str, address: str) -> Session:
        """A new session; raises TooManyAttempts or Unauthenticated, which is the same and takes as
        long for a wrong name as for a wrong password."""
        self._attempts.count(address)
        account = await self.account(name[:LONGEST_PASSWORD])
        known = account.password_hash if account else self._nobody
        right = await self._verify(known, password)
        if account is None or not right:
            await self._audit("login", "refused", name, address)
            raise Unauthenticated("name or password is wrong")
        await self._audit("login", "ok", name, address)
        return self._session(account)

    def _session(self, account: Account) -> Session:
        token, claims = self.tokens.make(account.name, account.token_epoch)
        return Session(token, Principal(account.name, tuple(account.roles), claims))

    async def check(self, token: str) -> Principal:
        """Who a session token stands for; raises Unauthenticated."""
        claims = self.tokens.check(token)
        account = await self.account(claims.sub)
        if account is None or account.token_epoch != claims.epoch or claims.jti in self._revoked:
            raise Unauthenticated("log in again")
        return Principal(account.name, tuple(account.roles), claims)

    async def principal(self, request: Request, role: str | None = None) -> Principal:
        """Who a request comes from, by its bearer token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("log in first")
        principal = await self.check(token.strip())
        if role is not None and role not in principal.roles:
            raise Forbidden(f"only for the role {role}")
        return principal

    async def logout(self, principal: Principal, address: str) -> None:
        """Revoke the token; this holds when the call returns, also after a restart."""
        await asyncio.to_thread(self._revoked.add, principal.claims.jti, principal.claims.exp)
        await self._audit("logout", "ok", principal.name, address)

    async def change_password(
        self, principal: Principal, old: str, new: str, address: str
    ) -> tuple[Session, Committed]:
        """Set another password; every earlier session of the account is worthless afterwards."""
        self._attempts.count(address)
        check_password(new)
        account = await self.account(principal.name)
        if account is None or not await self._verify(account.password_hash, old):
            await self._audit("password.change", "refused", principal.name, address)
            raise Unauthenticated("the present password is wrong")
        body = UserBody(
            name=account.name,
            password_hash=await self._hash(new),
            roles=account.roles,
            token_epoch=account.token_epoch + 1,
        )
        committed = await self._commands.submit(
            EditUser(body=body, expects=account.generation), principal.name
        )
        await self._audit("password.change", "ok", principal.name, address)
        changed = Account(
            body.name, body.password_hash, body.roles, body.token_epoch, account.generation + 1
        )
        return self._session(changed), committed

    # The first account

    async def ensure_admin(self, password: str | None) -> str | None:
        """Make the admin account if there is no account at all; returns a password that was made up
        for it, which is nowhere else."""
        head = int((await self._log.api("STREAM.INFO.CATALOG"))["state"]["last_seq"])
        while True:
            try:
                await self._views.feed.wait_for("CATALOG", head, limit=60)
                break
            except FeedTimeout:
                continue
        if await self._views.read(lambda view: view.documents("user", limit=1)):
            return None
        made = None
        if password is None:
            made = password = "".join(secrets.choice(_PASSWORD_CHARACTERS) for _ in range(20))
        check_password(password)
        body = UserBody(name=ADMIN, password_hash=await self._hash(password), roles=["admin"])
        try:
            await self._commands.submit(CreateUser(body=body), "gateway")
        except Refused:
            # Another gateway on this log was first.
            return None
        await self._audit("account.create", "ok", ADMIN, None)
        return made

    # Passwords and audit

    async def _verify(self, known: str, password: str) -> bool:
        async with self._checking:
            return await asyncio.to_thread(_right, known, password)

    async def _hash(self, password: str) -> str:
        async with self._checking:
            return await asyncio.to_thread(_HASHER.hash, password)

    async def _audit(
        self, action: str, outcome: Literal["ok", "refused"], name: str, address: str | None
    ) -> None:
        event = AuditRecorded(
            action=action, outcome=outcome, subject=_printable(name), address=address
        )
        actor = _printable(name) if outcome == "ok" else "gateway"
        await append(self._log, encode(event, "auth", time=now(), actor=actor, id=new_uuid()))

    def close(self) -> None:
        self._revoked.close()


def check_password(password: str) -> None:
    """Refuse a password that is too short to be one."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise Invalid(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")


def _right(known: str, password: str) -> bool:
    try:
        return _HASHER.verify(known, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def _account(body: dict[str, Any]) -> Account:
    return Account(
        body["name"],
        body["password_hash"],
        body["roles"],
        body.get("token_epoch", 0),
        int(str(body["_rev"]).partition("-")[0]),
    )


def _printable(name: str) -> str:
    """What may stand in a header of the log, of whatever a caller typed as a name."""
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in name[:64])
