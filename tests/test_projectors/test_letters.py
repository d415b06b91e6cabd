"""Folding is the name index's folding, for every letter there is."""

from __future__ import annotations

import sys

import apsw
from hypothesis import given
from hypothesis import strategies as st

from projectors.documents.letters import fold


def test_every_letter_folds_as_the_index_folds_it() -> None:
    with_case = [
        code
        for code in range(1, sys.maxunicode + 1)
        if chr(code).lower() != chr(code) or chr(code).upper() != chr(code)
        if not 0xD800 <= code <= 0xDFFF
    ]
    assert len(with_case) > 2500
    connection = apsw.Connection(":memory:")
    connection.execute(
        """CREATE VIRTUAL TABLE t USING fts5(name, tokenize = 'trigram');
           CREATE VIRTUAL TABLE v USING fts5vocab(t, instance)"""
    )
    with connection:
        connection.executemany(
            "INSERT INTO t (rowid, name) VALUES (?, ?)",
            [(code, "00" + chr(code)) for code in with_case],
        )
    folded = {row: term for term, row in connection.execute("SELECT term, doc FROM v")}
    assert len(folded) == len(with_case)
    assert [code for code in with_case if folded[code] != "00" + fold(chr(code))] == []


@given(st.text())
def test_folding_keeps_the_length_and_is_done_once(text: str) -> None:
    assert len(fold(text)) == len(text)
    assert fold(fold(text)) == fold(text)


@given(st.text(), st.text())
def test_letters_fold_one_by_one(one: str, other: str) -> None:
    """Else a part of a name would not be found in the name."""
    assert fold(one + other) == fold(one) + fold(other)
