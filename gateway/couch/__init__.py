"""The CouchDB-compatible read API at `/db`, for PouchDB, Fauxton, replicators and other tools.

`routes` is its contract with the gateway; docs/couch.md lists what it answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from gateway.couch.answers import CouchError, guarded
from gateway.couch.callers import Callers
from gateway.couch.changes import Changes
from gateway.couch.documents import Documents
from gateway.couch.fauxton import Fauxton
from gateway.couch.find import Find
from gateway.couch.listing import Listing
from gateway.couch.local import Local
from gateway.couch.server import Server
from gateway.couch.views import Views

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.couch.needs import Needs

    Handler = Callable[[Request], Awaitable[Response]]

_EVERY: Final = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "COPY", "OPTIONS"]


def routes(context: Needs) -> list[BaseRoute]:
    """All routes, with their whole paths."""
    callers = Callers(context)
    local = Local(context.places.state / "gateway" / "couch-local.db")
    made: list[BaseRoute] = []
    for path, methods in table(context, callers, local).items():
        # Both spellings answer, without a redirect: replicators do not follow one.
        spellings = {path, path.rstrip("/")} if path.endswith("/") else {path}
        made += [Route(each, _by_method(methods), methods=_EVERY) for each in sorted(spellings)]
    return made


def _by_method(methods: dict[str, Handler]) -> Handler:
    """The handler for a request's method; GET answers HEAD too."""

    async def handler(request: Request) -> Response:
        found = methods.get("GET" if request.method == "HEAD" else request.method)
        if found is None:
            allowed = ",".join(sorted(methods))
            raise CouchError(405, "method_not_allowed", f"Only {allowed} allowed")
        return await found(request)

    return guarded(handler)


def table(context: Needs, callers: Callers, local: Local) -> dict[str, dict[str, Handler]]:
    """Every path with its methods. The order counts: the first path that fits answers."""
    server, changes = Server(context, callers), Changes(context, callers)
    documents, listing = Documents(context, callers, local), Listing(context, callers)
    find, views = Find(context, callers), Views(context, callers)
    fauxton = Fauxton(context.places)
    refuse = documents.refuse
    return {
        "/db/": {"GET": server.welcome},
        "/db/_all_dbs": {"GET": server.all_dbs},
        "/db/_session": {"GET": server.session, "POST": server.log_in, "DELETE": server.log_out},
        "/db/_up": {"GET": server.up},
        "/db/_uuids": {"GET": server.uuids},
        "/db/_utils/": {"GET": fauxton.respond},
        "/db/_utils/{path:path}": {"GET": fauxton.respond},
        "/db/{db}/": {
            "GET": server.info,
            "POST": refuse,
            "PUT": server.refuse,
            "DELETE": server.refuse,
        },
        "/db/{db}/_all_docs": {"GET": listing.respond, "POST": listing.respond},
        "/db/{db}/_bulk_docs": {"POST": documents.bulk_docs},
        "/db/{db}/_bulk_get": {"POST": documents.bulk_get},
        "/db/{db}/_changes": {"GET": changes.respond, "POST": changes.respond},
        "/db/{db}/_ensure_full_commit": {"POST": server.flush},
        "/db/{db}/_explain": {"POST": find.explain},
        "/db/{db}/_find": {"POST": find.find},
        "/db/{db}/_index": {"GET": find.indexes, "POST": find.make_index},
        "/db/{db}/_index/{rest:path}": {"DELETE": find.drop_index},
        "/db/{db}/_local/{id:path}": {
            "GET": documents.local_get,
            "PUT": documents.local_put,
            "DELETE": documents.local_delete,
        },
        "/db/{db}/_revs_diff": {"POST": documents.revs_diff},
        "/db/{db}/_security": {"GET": server.security, "PUT": server.refuse},
        "/db/{db}/_design/{group}": {"GET": views.describe, "PUT": refuse, "DELETE": refuse},
        "/db/{db}/_design/{group}/_view/{view}": {"GET": views.respond, "POST": views.respond},
        "/db/{db}/{doc:path}": {
            "GET": documents.get,
            "PUT": refuse,
            "POST": refuse,
            "DELETE": refuse,
        },
    }
