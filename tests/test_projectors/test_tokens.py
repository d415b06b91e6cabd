"""Sequence tokens: they come back as they were, and nothing else is taken for one."""

from __future__ import annotations

import base64
import time
import tracemalloc
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from projectors.documents.tokens import BadToken, Position, decode, encode

_COUNTS = st.integers(0, 2**63 - 1)
_VECTORS = st.dictionaries(
    st.sampled_from(["FILES", "CATALOG", "NODES", "NOTICES"]),
    st.builds(Position, _COUNTS, st.integers(0, 500)),
)


def _packed(text: bytes) -> str:
    return "1-" + base64.urlsafe_b64encode(zlib.compress(text)).decode().rstrip("=")


@given(_VECTORS)
def test_round_trip(vector: dict[str, Position]) -> None:
    meant = {stream: at for stream, at in vector.items() if at != Position(0)}
    assert decode(encode(vector)) == meant
    assert decode(f' "{encode(vector)}" ') == meant


@given(_VECTORS)
def test_begins_with_a_number_that_grows_with_the_vector(vector: dict[str, Position]) -> None:
    number = int(encode(vector).partition("-")[0])
    further = {name: at._replace(sequence=at.sequence + 1) for name, at in vector.items()}
    assert int(encode(further).partition("-")[0]) == number + len(vector)


@pytest.mark.parametrize("bare", ["0", "17", '"17"', " 0 "])
def test_a_bare_number_is_the_beginning(bare: str) -> None:
    assert decode(bare) == {}


@given(st.one_of(st.text(), st.text().map(lambda text: f"1-{text}"), st.binary().map(_packed)))
@example("1-")
@example("")
@example("-")
@example("now")
@example("1-\udc80")
@example("1-é")
def test_garbage_is_a_bad_token_or_a_vector_and_nothing_else(text: str) -> None:
    try:
        vector = decode(text)
    except BadToken:
        return
    assert all(0 <= part < 2**63 for at in vector.values() for part in at)


@given(_VECTORS.filter(bool), st.data())
def test_a_token_that_was_cut_is_refused(vector: dict[str, Position], data: st.DataObject) -> None:
    token = encode(vector)
    at = token.index("-") + 2
    if not any(part != Position(0) for part in vector.values()):
        return
    cut = data.draw(st.integers(at, len(token) - 1))
    with pytest.raises(BadToken):
        decode(token[:cut])


@pytest.mark.parametrize(
    "text",
    [
        b'{"FILES":-1}',
        b'{"FILES":9223372036854775808}',
        b'{"FILES":1e3000}',
        b'{"FILES":[1]}',
        b'{"FILES":[1,2,3]}',
        b'{"FILES":[1,-2]}',
        b'{"FILES":"1"}',
        b'{"FILES":null}',
        b"[]",
        b'{"FILES":1',
        b"[" * 4000,
        b"",
    ],
)
def test_what_no_gateway_wrote_is_refused(text: bytes) -> None:
    with pytest.raises(BadToken):
        decode(_packed(text))


def test_a_bomb_does_not_go_off() -> None:
    bomb = _packed(b'{"FILES":1' + b" " * 200_000_000 + b"}")
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(BadToken):
        decode(bomb)
    seconds = time.perf_counter() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(bomb) > 200_000
    assert peak < 5_000_000
    assert seconds < 1
