"""The parameters of a request: from its query, with those of a JSON body laid over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.couch.answers import CouchError, Json, bad

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

# Where a key is asked for, JSON null is a key too.
NOT_GIVEN: Final = object()
_LARGEST: Final = 2**53


class Parameters:
    """Query parameters are text, keys in them JSON; in a body everything is JSON already."""

    def __init__(self, query: Mapping[str, str], body: Mapping[str, Any] | None = None) -> None:
        self._query = query
        self._body = body or {}

    @classmethod
    def of(cls, request: Request, body: Mapping[str, Any] | None = None) -> Parameters:
        return cls(dict(request.query_params), body)

    def has(self, name: str) -> bool:
        return name in self._body or name in self._query

    def text(self, name: str, default: str = "") -> str:
        value = self._body.get(name, self._query.get(name, default))
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise bad(f"{name} must be text")
        return str(value)

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self._body.get(name, self._query.get(name))
        if value is None:
            return default
        if value in (True, "true", '"true"'):
            return True
        if value in (False, "false", '"false"'):
            return False
        raise CouchError(400, "query_parse_error", f"invalid boolean for {name}")

    def number(self, name: str, default: int | None = None) -> int | None:
        """An integer of 0 or more."""
        value = self._body.get(name, self._query.get(name))
        if value is None:
            return default
        if isinstance(value, str) and value.isdecimal() and len(value) < 16:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST:
            raise CouchError(400, "query_parse_error", f"{name} must be an integer of 0 or more")
        return value

    def json(self, *names: str) -> Json:
        """The first of these that is given, as a JSON value; NOT_GIVEN if none is."""
        for name in names:
            if name in self._body:
                return self._body[name]
            if name in self._query:
                try:
                    return msgspec.json.decode(self._query[name])
                except (msgspec.DecodeError, RecursionError):
                    reason = f"{name} must be JSON; a text key needs its quotes"
                    raise CouchError(400, "query_parse_error", reason) from None
        return NOT_GIVEN
