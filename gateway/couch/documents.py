"""Single documents and batches of them: read with their revisions, never written here."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.responses import Response

from gateway.couch.answers import Json, answer, bad, encode, forbidden, json_of, missing
from gateway.couch.parameters import NOT_GIVEN, Parameters
from projectors.documents import couch
from projectors.documents.revisions import chain, generation_of, revision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from gateway.couch.callers import Callers
    from gateway.couch.local import Local
    from gateway.couch.needs import Needs
    from projectors.documents.couch import Audience, Entry

# How long a question waits for a revision that another gateway has told already.
_AHEAD_S: Final = 5.0
_MOST: Final = 20_000


class Wanted(NamedTuple):
    """A document, and the revision if one is named."""

    doc: str
    rev: str | None


class Documents:
    """The endpoints."""

    def __init__(self, context: Needs, callers: Callers, local: Local) -> None:
        self._context = context
        self._callers = callers
        self._local = local

    async def fetch(self, audience: Audience, wanted: Sequence[Wanted]) -> list[Entry | None]:
        """The documents as they are, not before they have the revisions that are named.

        A client may have learned of a revision from another gateway that is ahead of this one. It
        proves so by the revision, which is a function of document and generation.
        """
        with self._context.feed.changed() as waiter:
            try:
                async with asyncio.timeout(_AHEAD_S):
                    while True:
                        waiter.take()
                        found = await self._read(audience, wanted)
                        if not any(map(_is_behind, found, wanted)):
                            return found
                        await waiter.wait()
            except TimeoutError:
                return await self._read(audience, wanted)

    async def _read(self, audience: Audience, wanted: Sequence[Wanted]) -> list[Entry | None]:
        return await self._context.views.read(
            lambda view: [couch.entry(view, audience, each.doc) for each in wanted]
        )

    async def get(self, request: Request) -> Response:
        database, _ = await self._callers.database(request)
        doc = request.path_params["doc"]
        given = Parameters.of(request)
        every = given.text("open_revs") == "all"
        open_revs = "all" if every else given.json("open_revs")
        if open_revs is not NOT_GIVEN:
            return await self._open_revisions(request, database.audience, doc, open_revs)
        rev = given.text("rev") or None
        (entry,) = await self.fetch(database.audience, [Wanted(doc, rev)])
        if entry is None:
            raise missing()
        if rev is None and entry.deleted:
            raise missing("deleted")
        if not _serves(entry, rev, latest=given.flag("latest")):
            raise missing()
        etag = f'"{entry.rev}"'
        headers = {"etag": etag}
        tags = (tag.strip() for tag in request.headers.get("if-none-match", "").split(","))
        if etag in tags:
            return Response(status_code=304, headers=headers)
        return answer(_with_revisions(entry, given), headers=headers)

    async def _open_revisions(
        self, request: Request, audience: Audience, doc: str, asked: Json
    ) -> Response:
        given = Parameters.of(request)
        if asked != "all" and not (
            isinstance(asked, list) and all(isinstance(rev, str) for rev in asked)
        ):
            raise bad("open_revs is `all` or an array of revisions")
        revs = [None] if asked == "all" else list(dict.fromkeys(asked))
        found = await self.fetch(audience, [Wanted(doc, rev) for rev in revs])
        if asked == "all" and found[0] is None:
            raise missing()
        answers: list[tuple[str, bytes]] = []
        for entry, rev in zip(found, revs, strict=True):
            if entry is not None and _serves(entry, rev, latest=given.flag("latest")):
                answers.append(("ok", _with_revisions(entry, given)))
            else:
                answers.append(("missing", encode(rev)))
        accepted = request.headers.get("accept", "")
        if "multipart/mixed" in accepted and "application/json" not in accepted:
            return _multipart(answers)
        rows = (b'{"%b":%b}' % (kind.encode(), body) for kind, body in answers)
        return answer(b"[" + b",".join(rows) + b"]")

    async def bulk_get(self, request: Request) -> Response:
        """One result for each request, in their order."""
        database, _ = await self._callers.database(request)
        body = await json_of(request)
        given = Parameters.of(request)
        docs = body.get("docs")
        if not isinstance(docs, list) or len(docs) > _MOST:
            raise bad(f"docs must be an array of at most {_MOST}")
        wanted = [_wanted(each) for each in docs]
        asked = [each for each in wanted if isinstance(each, Wanted)]
        found = iter(await self.fetch(database.audience, asked))
        rows = [
            each if isinstance(each, bytes) else _got(each, next(found), given) for each in wanted
        ]
        return answer(b'{"results":[' + b",\n".join(rows) + b"]}")

    async def revs_diff(self, request: Request) -> Response:
        database, _ = await self._callers.database(request)
        asked = await json_of(request)
        if len(asked) > _MOST or not all(
            isinstance(revs, list) and all(isinstance(rev, str) for rev in revs)
            for revs in asked.values()
        ):
            raise bad("the body must be {id: [revision]}")
        entries = await self._read(database.audience, [Wanted(doc, None) for doc in asked])
        missed: dict[str, dict[str, list[str]]] = {}
        for (doc, revs), entry in zip(asked.items(), entries, strict=True):
            here = 0 if entry is None else entry.generation
            lacking = [rev for rev in revs if not 0 < (generation_of(doc, rev) or 0) <= here]
            if lacking:
                missed[doc] = {"missing": lacking}
                if entry is not None:
                    missed[doc]["possible_ancestors"] = [entry.rev]
        return answer(missed)

    # Writes are refused, each in the way that its client understands

    async def bulk_docs(self, request: Request) -> Response:
        """Row by row, so that a replicator counts the documents as denied and goes on."""
        await self._callers.database(request)
        body = await json_of(request)
        docs = body.get("docs")
        if not isinstance(docs, list) or not all(isinstance(each, dict) for each in docs):
            raise bad("docs must be an array of objects")
        refusal = forbidden()
        rows = [
            {
                "id": each.get("_id") or secrets.token_hex(16),
                **({"rev": each["_rev"]} if isinstance(each.get("_rev"), str) else {}),
                "error": refusal.error,
                "reason": refusal.reason,
            }
            for each in docs
        ]
        return answer(rows, 201)

    async def refuse(self, request: Request) -> Response:
        await self._callers.database(request)
        raise forbidden()

    # `_local`

    async def local_get(self, request: Request) -> Response:
        database, who = await self._callers.database(request)
        id = request.path_params["id"]
        found = await asyncio.to_thread(self._local.get, database.name, who.name, id)
        if found is None:
            raise missing()
        return answer(found)

    async def local_put(self, request: Request) -> Response:
        database, who = await self._callers.database(request)
        id = request.path_params["id"]
        document = await json_of(request)
        if _lost_checkpoint(document):
            raise forbidden("this gateway has no checkpoint of yours; trust the one of your target")
        rev = await asyncio.to_thread(self._local.put, database.name, who.name, id, document)
        return answer({"ok": True, "id": f"_local/{id}", "rev": rev}, 201)

    async def local_delete(self, request: Request) -> Response:
        database, who = await self._callers.database(request)
        id, rev = request.path_params["id"], Parameters.of(request).text("rev") or None
        await asyncio.to_thread(self._local.delete, database.name, who.name, id, rev)
        return answer({"ok": True, "id": f"_local/{id}", "rev": "0-0"})


def _lost_checkpoint(document: dict[str, Any]) -> bool:
    """What PouchDB writes when its target has a checkpoint and its source has none: it would begin
    at 0. Refused, it goes on at the target's checkpoint, which is a token of the log and holds at
    every gateway. A token of another log counts as 0 by itself."""
    return document.keys() <= {"_id", "_rev", "last_seq"} and document.get("last_seq") == 0


def _is_behind(entry: Entry | None, wanted: Wanted) -> bool:
    """Whether the revision is a real one that this view does not have yet."""
    if wanted.rev is None:
        return False
    generation = generation_of(wanted.doc, wanted.rev)
    if not generation:
        return False
    return entry is None or entry.generation < generation


def _serves(entry: Entry, rev: str | None, *, latest: bool) -> bool:
    """Whether the document answers for a revision. Bodies of older ones are gone; with `latest`
    the present one stands for its ancestors."""
    if rev is None or rev == entry.rev:
        return True
    generation = generation_of(entry.doc, rev)
    return latest and generation is not None and 0 < generation < entry.generation


def _with_revisions(entry: Entry, given: Parameters) -> bytes:
    extra: dict[str, Any] = {}
    if given.flag("revs"):
        extra["_revisions"] = chain(entry.doc, entry.generation)
    if given.flag("revs_info"):
        known = chain(entry.doc, entry.generation, 100)["ids"]
        assert isinstance(known, list)
        extra["_revs_info"] = [
            {
                "rev": revision(entry.doc, entry.generation - age),
                "status": "missing" if age else "deleted" if entry.deleted else "available",
            }
            for age in range(len(known))
        ]
    if not extra:
        return entry.body
    return entry.body[:-1] + b"," + encode(extra)[1:]


def _wanted(given: Json) -> Wanted | bytes:
    """What a row of `_bulk_get` asks for, or its answer where it makes no sense."""
    doc = given.get("id") if isinstance(given, dict) else None
    rev = given.get("rev") if isinstance(given, dict) else None
    if isinstance(doc, str) and (rev is None or isinstance(rev, str)):
        return Wanted(doc, rev)
    error = {"id": doc, "rev": rev, "error": "bad_request", "reason": "id and rev must be text"}
    return encode({"id": doc, "docs": [{"error": error}]})


def _got(wanted: Wanted, entry: Entry | None, given: Parameters) -> bytes:
    if entry is not None and _serves(entry, wanted.rev, latest=given.flag("latest")):
        body = _with_revisions(entry, given)
        return b'{"id":%b,"docs":[{"ok":%b}]}' % (encode(wanted.doc), body)
    error = {
        "id": wanted.doc,
        "rev": wanted.rev or "undefined",
        "error": "not_found",
        "reason": "missing",
    }
    return encode({"id": wanted.doc, "docs": [{"error": error}]})


def _multipart(answers: list[tuple[str, bytes]]) -> Response:
    boundary = secrets.token_hex(16)
    parts = []
    for kind, body in answers:
        error = '; error="true"' if kind == "missing" else ""
        content = b'{"missing":%b}' % body if kind == "missing" else body
        head = f"--{boundary}\r\nContent-Type: application/json{error}\r\n\r\n".encode()
        parts.append(head + content + b"\r\n")
    closing = f"--{boundary}--".encode()
    return Response(
        b"".join(parts) + closing,
        headers={"content-type": f'multipart/mixed; boundary="{boundary}"'},
    )
