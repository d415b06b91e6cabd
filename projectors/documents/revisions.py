"""CouchDB revisions without storing one.

History is linear because each view has one writer, so a revision is a function of document and
generation, and the whole chain can be told from the last one. Every gateway tells the same.
"""

from __future__ import annotations

from hashlib import blake2b


def revision(doc: str, generation: int) -> str:
    """`N-<32 hex>` for the document's generation N."""
    mark = blake2b(
        f"{generation}:{doc}".encode(), digest_size=16, person=b"mosaicfs-rev"
    ).hexdigest()
    return f"{generation}-{mark}"


def chain(doc: str, generation: int, limit: int = 1000) -> dict[str, object]:
    """`_revisions` as CouchDB states it: newest first, at most `limit` of them."""
    lowest = max(0, generation - limit)
    return {
        "start": generation,
        "ids": [revision(doc, n).partition("-")[2] for n in range(generation, lowest, -1)],
    }


def generation_of(doc: str, rev: str) -> int | None:
    """The generation that a revision names, if it is one of this document's."""
    number, _, _ = rev.partition("-")
    if not number.isdecimal() or len(number) > 18 or not int(number):
        return None
    return int(number) if revision(doc, int(number)) == rev else None
