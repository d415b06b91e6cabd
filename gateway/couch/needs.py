"""What the CouchDB API needs of the gateway. `gateway.context.Context` is one.

- `views.read` runs a query in a thread, on one moment of the view.
- `feed.changed` wakes after a commit of the view, never before.
- `principal` raises Unauthenticated or Forbidden.
- `stopping` is set when the gateway is about to end: whoever waits then answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from starlette.requests import Request

    from events.machine.places import Places
    from gateway.couch.answers import Json
    from projectors.documents.reader import Reader

T = TypeVar("T")


class Changes(Protocol):
    """One waiter on the view."""

    async def wait(self, limit: float | None = None) -> bool: ...

    def take(self) -> set[str] | None: ...


class Feed(Protocol):
    def changed(self) -> AbstractContextManager[Changes]: ...


class Views(Protocol):
    async def read(self, query: Callable[[Reader], T]) -> T: ...


class Principal(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def roles(self) -> tuple[str, ...]: ...


class Session(Protocol):
    @property
    def token(self) -> str: ...

    @property
    def principal(self) -> Principal: ...


class People(Protocol):
    async def login(self, name: str, password: str, address: str) -> Session: ...

    async def check(self, token: str) -> Principal: ...

    async def logout(self, principal: Json, address: str) -> None:
        """`principal` is one that `check` or `login` gave."""

    def address(self, request: Request) -> str: ...


class Needs(Protocol):
    @property
    def places(self) -> Places: ...

    @property
    def feed(self) -> Feed: ...

    @property
    def views(self) -> Views: ...

    @property
    def people(self) -> People: ...

    @property
    def stopping(self) -> asyncio.Event: ...

    async def principal(self, request: Request) -> Principal: ...
