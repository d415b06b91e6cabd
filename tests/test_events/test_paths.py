"""Path text: exact for every byte that a disk may hold, fit for JSON and SQLite."""

from __future__ import annotations

import os

import apsw
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events import paths

# What Linux takes for a name; slash is left in, because whole paths are converted too.
names = st.binary(min_size=1, max_size=255).map(lambda raw: raw.replace(b"\0", b"/"))


@given(names)
@example(b"\xff")
@example("\ufffd".encode())
@example(b"caf\xe9 \xef\xbf\xbd \xef\xbf\xbdff")
@example(b"\xed\xb2\x80")
@example(b"\xc3")
def test_every_name_comes_back_byte_by_byte(raw: bytes) -> None:
    text = paths.to_text(os.fsdecode(raw))
    assert paths.to_bytes(text) == raw
    assert os.fsencode(paths.to_os(text)) == raw


@given(names, names)
def test_two_names_never_have_one_text(one: bytes, other: bytes) -> None:
    texts = {paths.to_text(os.fsdecode(raw)) for raw in (one, other)}
    assert len(texts) == len({one, other})


@given(names)
def test_json_and_sqlite_keep_the_text(raw: bytes) -> None:
    text = paths.to_text(os.fsdecode(raw))
    assert msgspec.json.decode(msgspec.json.encode(text)) == text
    assert apsw.Connection(":memory:").execute("SELECT ?", (text,)).get == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_readable_names_stand_for_themselves(name: str) -> None:
    assert paths.to_text(name) == name == paths.to_os(name)


def test_other_bytes_are_marked_and_the_mark_is_doubled() -> None:
    assert paths.to_text(os.fsdecode(b"caf\xe9")) == "caf\ufffde9"
    assert paths.to_text("\ufffd") == "\ufffd\ufffd"
    assert paths.to_bytes("\ufffd\ufffd") == "\ufffd".encode()


@pytest.mark.parametrize(
    "text",
    [
        "\ufffd",
        "a\ufffdf",
        "\ufffdFF",
        "\ufffd+9",
        "\ufffd 9",
        "\ufffd٩٩",
        "\ufffd41",  # an ASCII letter needs no mark
        "\ufffd2f",  # nor does a slash, which would leave its folder
        "\ufffd00",
        "\ufffdc3\ufffda9",  # together they are a readable letter
    ],
)
def test_what_no_name_is_written_as_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a path text"):
        paths.to_os(text)


@given(st.text(st.sampled_from("\ufffdé89af0c3b/")))
def test_a_text_is_refused_or_the_one_text_of_its_name(text: str) -> None:
    try:
        name = paths.to_os(text)
    except ValueError:
        return
    assert paths.to_text(os.fsdecode(os.fsencode(name))) == text


def test_join_and_split_are_inverse() -> None:
    for parent, name in [("/", "a"), ("/a", "b"), ("/a/b", "c d")]:
        assert paths.split(paths.join(parent, name)) == (parent, name)
