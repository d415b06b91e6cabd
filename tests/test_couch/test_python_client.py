"""A CouchDB client for Python that knows nothing of MosaicFS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.test_couch.world import Gateway

aiocouch = pytest.importorskip("aiocouch")


# The client's own use of its HTTP library.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.anyio
async def test_aiocouch_reads(gateway: Gateway) -> None:
    async with aiocouch.CouchDB(gateway.url, user="bob", password="bob") as server:
        assert await server.keys() == ["mosaic"]
        database = await server["mosaic"]
        info = await database.info()
        listed = [doc.id async for doc in database.docs()]
        assert len(listed) == info["doc_count"]
        assert (await database["label_rule::r1"])["labels"] == ["work"]
        pictures = [doc async for doc in database.find({"mime_type": "image/jpeg"}, limit=3)]
        assert [doc["size"] for doc in pictures] == [1000] * 3
        rules = [doc async for doc in database.docs(["label_rule::r1"])]
        assert [doc.id for doc in rules] == ["label_rule::r1"]
        seen = [change.id async for change in database.changes(include_docs=True)]
        assert set(listed) <= set(seen)
        mine = await database.create("mine")
        with pytest.raises(aiocouch.exception.ForbiddenError):
            await mine.save()
