"""Fauxton at `/db/_utils/`, if it is there.

It is 3.5 MB of another project and not part of MosaicFS: whoever wants it puts the folder
`dist/release` of its npm package at `fauxton` in the state folder.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.responses import FileResponse, Response

from gateway.couch.answers import missing

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from events.machine.places import Places

# It compiles its templates in the browser, so it needs `unsafe-eval`; nothing comes from elsewhere.
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'"
)


class Fauxton:
    """Serves the files of one folder and nothing outside of it."""

    def __init__(self, places: Places) -> None:
        self._folder = places.state / "fauxton"

    async def respond(self, request: Request) -> Response:
        asked = request.path_params.get("path", "") or "index.html"
        found = await asyncio.to_thread(self._file, asked)
        if found is None:
            raise missing("Fauxton is not installed; docs/couch.md tells how")
        return FileResponse(found, headers={"content-security-policy": _POLICY})

    def _file(self, asked: str) -> Path | None:
        folder = self._folder.resolve()
        path = (folder / asked).resolve()
        return path if path.is_relative_to(folder) and path.is_file() else None
