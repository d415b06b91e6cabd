"""Logging in and out."""

from __future__ import annotations

from typing import Annotated

import msgspec

from events.moments import moment
from gateway.people import LONGEST_PASSWORD, SHORTEST_PASSWORD, Session
from gateway.routing import Call, get, post

Password = Annotated[str, msgspec.Meta(max_length=LONGEST_PASSWORD)]


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=64)]
    password: Password


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    present: Password
    new: Annotated[str, msgspec.Meta(min_length=SHORTEST_PASSWORD, max_length=LONGEST_PASSWORD)]


class Person(msgspec.Struct, frozen=True):
    name: str
    roles: list[str]
    expires_at: str


class Token(msgspec.Struct, frozen=True):
    """Send it as `Authorization: Bearer <token>`."""

    token: str
    name: str
    roles: list[str]
    expires_at: str


class ChangedPassword(msgspec.Struct, frozen=True):
    """Every earlier token is worthless; this is the one to go on with."""

    stream: str
    sequence: int
    session: Token


def _token(session: Session) -> Token:
    who = session.principal
    return Token(session.token, who.name, list(who.roles), moment(who.claims.exp * 1000))


@post("/api/auth/login", tag="sessions", open=True, problems=(401, 429))
async def login(call: Call, body: Login) -> Token:
    """Log in with name and password.

    At most five attempts a minute from one address. A wrong name and a wrong password are answered
    alike.
    """
    call.headers["cache-control"] = "no-store"
    return _token(await call.context.people.login(body.name, body.password, call.address))


@post("/api/auth/logout", tag="sessions", status=204)
async def logout(call: Call) -> None:
    """Give up the token, for good."""
    await call.context.people.logout(call.principal, call.address)


@get("/api/auth/whoami", tag="sessions")
async def whoami(call: Call) -> Person:
    """Who the token stands for."""
    who = call.principal
    return Person(who.name, list(who.roles), moment(who.claims.exp * 1000))


@post("/api/auth/password", tag="sessions", problems=(409, 429))
async def change_password(call: Call, body: PasswordChange) -> ChangedPassword:
    """Change the own password.

    Every session of the account ends, this one too; the answer holds a new one.
    """
    call.headers["cache-control"] = "no-store"
    session, committed = await call.context.people.change_password(
        call.principal, body.present, body.new, call.address
    )
    return ChangedPassword(committed.stream, committed.sequence, _token(session))
