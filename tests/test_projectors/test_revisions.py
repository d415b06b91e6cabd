"""Revisions are a function of document and generation, the same for everybody for ever."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projectors.documents.revisions import chain, generation_of, revision

_DOCS = st.text(max_size=30)
_GENERATIONS = st.integers(1, 2**63 - 1)


@given(_DOCS, _GENERATIONS)
def test_a_revision_names_its_generation(doc: str, generation: int) -> None:
    rev = revision(doc, generation)
    assert re.fullmatch(r"[1-9][0-9]*-[0-9a-f]{32}", rev)
    # Numbers of more than 18 digits are refused, no document gets there.
    assert generation_of(doc, rev) == (generation if generation < 10**18 else None)


@given(_DOCS, _DOCS, _GENERATIONS)
def test_documents_do_not_share_revisions(one: str, other: str, generation: int) -> None:
    assert (revision(one, generation) == revision(other, generation)) == (one == other)


def test_what_was_given_out_once_stays() -> None:
    assert revision("file::x", 1) == "1-fd2a521e9c6047fdac962d4157cc8793"


@given(_DOCS, st.integers(1, 3000), st.integers(1, 1500))
def test_the_chain_is_every_revision_newest_first(doc: str, generation: int, limit: int) -> None:
    found = chain(doc, generation, limit)
    ids = found["ids"]
    assert isinstance(ids, list)
    assert found["start"] == generation
    assert len(ids) == min(generation, limit)
    assert [f"{generation - i}-{mark}" for i, mark in enumerate(ids)] == [
        revision(doc, generation - i) for i in range(len(ids))
    ]


@given(_DOCS, st.text(max_size=40))
def test_text_that_is_no_revision_names_nothing(doc: str, text: str) -> None:
    assert generation_of(doc, text) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda rev: rev.upper().replace("-", "-", 1),
        lambda rev: "0" + rev,
        lambda rev: rev[:-1],
        lambda rev: rev + "0",
        lambda rev: rev.replace("7-", "8-", 1),
        lambda rev: rev.replace("7-", "٧-", 1),
        lambda rev: rev.partition("-")[0],
        lambda rev: "-" + rev,
    ],
)
def test_a_revision_that_was_tampered_with_names_nothing(change: object) -> None:
    assert callable(change)
    rev = revision("file::x", 7)
    assert generation_of("file::x", rev) == 7
    assert generation_of("file::x", change(rev)) is None
