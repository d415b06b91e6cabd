"""The server itself: welcome, databases, session, and what clients ask for out of habit."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from gateway.couch.answers import answer, bad, body_of, forbidden, json_of
from gateway.couch.callers import COOKIE
from gateway.couch.databases import DATABASES
from gateway.couch.parameters import Parameters
from gateway.errors import Unauthenticated
from projectors.documents import changes, couch

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.couch.callers import Callers
    from gateway.couch.databases import Database
    from gateway.couch.needs import Needs, Principal
    from projectors.documents.reader import Reader

# The CouchDB whose answers these are.
VERSION: Final = "3.5.0"
_MOST_UUIDS: Final = 1000


class Server:
    """Endpoints above and around the databases."""

    def __init__(self, context: Needs, callers: Callers) -> None:
        self._context = context
        self._callers = callers

    async def welcome(self, request: Request) -> Response:
        here = await self._context.views.read(couch.head)
        return answer(
            {
                "couchdb": "Welcome",
                "version": VERSION,
                "uuid": here.uuid,
                "features": [],
                "vendor": {"name": "MosaicFS"},
            }
        )

    async def up(self, request: Request) -> Response:
        await self._context.views.read(couch.head)
        return answer({"status": "ok", "seeds": {}})

    async def all_dbs(self, request: Request) -> Response:
        who = await self._callers.who(request)
        return answer([name for name, each in DATABASES.items() if each.open_to(who.roles)])

    async def uuids(self, request: Request) -> Response:
        count = Parameters.of(request).number("count", 1) or 0
        if count > _MOST_UUIDS:
            raise bad(f"count is at most {_MOST_UUIDS}")
        made = {"uuids": [secrets.token_hex(16) for _ in range(count)]}
        return answer(made, headers={"cache-control": "no-store"})

    async def session(self, request: Request) -> Response:
        try:
            who: Principal | None = await self._callers.who(request)
        except Unauthenticated:
            who = None
        return answer(
            {
                "ok": True,
                "userCtx": {
                    "name": who.name if who else None,
                    "roles": _roles(who) if who else [],
                },
                "info": {
                    "authentication_handlers": ["cookie", "default"],
                    **({"authenticated": "cookie"} if who else {}),
                },
            }
        )

    async def log_in(self, request: Request) -> Response:
        name, password = await _name_and_password(request)
        people = self._context.people
        session = await people.login(name, password, people.address(request))
        response = answer(
            {"ok": True, "name": session.principal.name, "roles": _roles(session.principal)}
        )
        _set_cookie(response, request, session.token)
        return response

    async def log_out(self, request: Request) -> Response:
        # Whoever has no session any more is logged out too.
        try:
            who = await self._callers.who(request)
        except Unauthenticated:
            pass
        else:
            people = self._context.people
            await people.logout(who, people.address(request))
        response = answer({"ok": True})
        _set_cookie(response, request, "")
        return response

    # One database

    async def info(self, request: Request) -> Response:
        database, _ = await self._callers.database(request)
        return answer(await self._context.views.read(lambda view: _info(view, database)))

    async def security(self, request: Request) -> Response:
        database, _ = await self._callers.database(request)
        members = sorted(database.roles or ())
        return answer(
            {
                "admins": {"names": [], "roles": ["admin"]},
                "members": {"names": [], "roles": members},
            }
        )

    async def refuse(self, request: Request) -> Response:
        """Whatever would change a database."""
        await self._callers.database(request)
        raise forbidden("databases are made by MosaicFS")

    async def flush(self, request: Request) -> Response:
        await self._callers.database(request)
        return answer({"ok": True, "instance_start_time": "0"}, 201)


def _info(view: Reader, database: Database) -> dict[str, Any]:
    here = couch.head(view)
    types = database.audience.listed
    gone = couch.rows(
        view,
        "SELECT count(*) FROM documents WHERE body IS NULL "
        "AND type IN (SELECT value FROM json_each(?))",
        (types,),
    )[0][0]
    pages, size, free = (
        couch.rows(view, f"PRAGMA {name}")[0][0]
        for name in ("page_count", "page_size", "freelist_count")
    )
    return {
        "db_name": database.name,
        "update_seq": changes.token(changes.everything(here), here.log),
        "doc_count": couch.count(view, database.audience),
        "doc_del_count": gone,
        "instance_start_time": "0",
        "sizes": {"file": pages * size, "active": (pages - free) * size, "external": 0},
        "props": {},
        "purge_seq": "0",
        "compact_running": False,
        "disk_format_version": 8,
        "cluster": {"q": 1, "n": 1, "w": 1, "r": 1},
    }


def _roles(who: Principal) -> list[str]:
    """Fauxton looks for `_admin` where CouchDB would have it."""
    return [*who.roles, *(["_admin"] if "admin" in who.roles else [])]


async def _name_and_password(request: Request) -> tuple[str, str]:
    if request.headers.get("content-type", "").startswith("application/json"):
        given = await json_of(request)
    else:
        text = (await body_of(request)).decode(errors="replace")
        given = {key: values[-1] for key, values in parse_qs(text).items()}
    name = given.get("name", given.get("username"))
    password = given.get("password")
    if not isinstance(name, str) or not isinstance(password, str):
        raise bad("request body must contain a name and a password")
    return name, password


def _set_cookie(response: Response, request: Request, token: str) -> None:
    # Strict: another site's page can make the browser send nothing here.
    response.set_cookie(
        COOKIE,
        token,
        max_age=None if token else 0,
        path=request.scope.get("root_path", "") + "/db",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
