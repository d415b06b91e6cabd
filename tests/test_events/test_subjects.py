"""The subject grammar, both ways, with ids of people who mean ill."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events import subjects
from events.errors import Poison
from events.subjects import Address
from tests.test_events.instances import token

addresses = st.sampled_from(sorted(subjects.GRAMMAR)).flatmap(
    lambda area: st.builds(
        Address, st.just(area), st.tuples(*[token] * len(subjects.GRAMMAR[area]))
    )
)


@given(addresses)
@example(Address("access", (">",)))
@example(Address("access", ("*",)))
@example(Address("access", ("a.b c\r\nPUB x 0\t\0",)))
@example(Address("access", ("=2E",)))
@example(Address("access", ("käse/../\U0001f9c0",)))
def test_an_address_comes_back_from_its_subject(address: Address) -> None:
    assert subjects.parse(subjects.build(address.area, *address.tokens)) == address


@given(addresses)
def test_a_subject_is_plain_and_has_one_word_for_each_token(address: Address) -> None:
    subject = subjects.build(address.area, *address.tokens)
    assert re.fullmatch(r"mosaic(\.[A-Za-z0-9_:@+=-]+)+", subject)
    assert subject.count(".") == 1 + len(address.tokens)


@given(st.text() | st.from_regex(r"mosaic\.[a-z]+(\.[A-Za-z=0-9*>]*)*", fullmatch=True))
def test_other_subjects_are_poison_and_nothing_else(subject: str) -> None:
    try:
        address = subjects.parse(subject)
    except Poison:
        return
    assert subjects.build(address.area, *address.tokens) == subject


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "mosaic",
        "mosaic.",
        "mosaic.files",
        "mosaic.files.n",
        "mosaic.files.n.indexed.more",
        "mosaic.files..indexed",
        "mosaic.files.n.>",
        "mosaic.files.*.indexed",
        "Mosaic.files.n.indexed",
        "other.files.n.indexed",
        "mosaic.nothing.n",
        "mosaic.access.=2e",  # lower case: another subject for the same id
        "mosaic.access.=6E",  # a letter that needs no escape: likewise
        "mosaic.access.=FF",  # not UTF-8
        "mosaic.access.=C3",
        "mosaic.access.=",
        "mosaic.access.n\n",
        "mosaic.access.ä",
    ],
)
def test_garbage_is_poison(subject: str) -> None:
    with pytest.raises(Poison):
        subjects.parse(subject)


def test_building_demands_what_the_grammar_says() -> None:
    with pytest.raises(ValueError, match="takes"):
        subjects.build("files", "n")
    with pytest.raises(ValueError, match="empty"):
        subjects.build("access", "")
    with pytest.raises(KeyError):
        subjects.build("nothing", "n")


def test_tokens_have_names() -> None:
    address = subjects.parse("mosaic.notices.n-1.disk_full")
    assert address.token("source") == "n-1"
    assert address.token("condition") == "disk_full"
