"""Ids: order, uniqueness, ranges, and document ids that never collide."""

from __future__ import annotations

import uuid
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import ids
from events.fold import DOCUMENT_TYPES
from events.ids import FileId, NodeId
from tests.test_events.instances import file_id


def test_file_ids_of_a_run_rise_and_never_repeat() -> None:
    made = list(islice(ids.new_file_ids(1_700_000_000_000), 10_000))
    assert made == sorted(set(made))


def test_file_ids_are_uuids_of_version_7_with_their_millisecond() -> None:
    first, *_, last = islice(ids.new_file_ids(1_700_000_000_000), 4097)
    assert uuid.UUID(first).version == 7
    assert uuid.UUID(first).variant == uuid.RFC_4122
    assert uuid.UUID(first).int >> 80 == 1_700_000_000_000
    # The counter of one millisecond is used up.
    assert uuid.UUID(last).int >> 80 == 1_700_000_000_001


def test_two_runs_of_one_millisecond_do_not_meet() -> None:
    one = set(islice(ids.new_file_ids(1), 4096))
    other = set(islice(ids.new_file_ids(1), 4096))
    assert not one & other


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1))
def test_ids_of_a_later_millisecond_are_greater(one: int, other: int) -> None:
    low, high = sorted((one, other))
    if low != high:
        assert next(ids.new_file_ids(low)) < next(ids.new_file_ids(high))


@given(st.binary(min_size=16, max_size=16))
def test_file_id_text_and_bytes_are_inverse(raw: bytes) -> None:
    assert ids.file_id_bytes(ids.file_id_text(raw)) == raw


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "file",
        "0195f3a0-1234-7abc-8def-0123456789a",
        "0195f3a0-1234-7abc-8def-0123456789abc",
        "0195F3A0-1234-7ABC-8DEF-0123456789AB",
        "0195f3a012347abc8def0123456789ab",
        "0195f3a01-234-7abc-8def-0123456789ab",
        "0195f3a012347abc8def0123456789ab----",
        "0195f3a0 1234 7abc 8def 0123456789ab",
        "0195f3a0-1234-7abc-8def-0123456789ag",
    ],
)
def test_other_spellings_are_no_file_ids(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"file id|hexadecimal"):
        ids.file_id_bytes(wrong)


def test_inodes_are_free_positive_and_random() -> None:
    made = list(islice(ids.new_inodes(), 20_000))
    assert all(ids.FIRST_FREE_INODE <= inode < 2**63 for inode in made)
    assert len(set(made)) == len(made)
    # All 63 bits are used: half of them have the highest.
    assert 9_000 < sum(inode >> 62 for inode in made) < 11_000


@pytest.mark.parametrize(
    ("hostname", "starts"),
    [
        ("Study.local", "study-"),
        ("", "node-"),
        ("---", "node-"),
        ("Käse Brot", "k-se-brot-"),
        ("x" * 300, "x" * 40 + "-"),
        ("a*b>c.d", "a-b-c-"),
    ],
)
def test_a_node_id_is_readable_and_valid(hostname: str, starts: str) -> None:
    made = ids.new_node_id(hostname)
    assert made.startswith(starts)
    assert ids.is_node_id(made)


@given(st.text())
def test_any_hostname_gives_a_valid_node_id(hostname: str) -> None:
    assert ids.is_node_id(ids.new_node_id(hostname))


@pytest.mark.parametrize("wrong", ["", "-a", "A", "a.b", "a*", "ä", "a" * 64, "a\n", "a b"])
def test_what_may_not_be_a_node_id(wrong: str) -> None:
    assert not ids.is_node_id(wrong)


def test_directories_are_named_by_their_path() -> None:
    assert ids.directory_doc("/") == "dir::root"
    assert ids.directory_doc("/a") == (
        "dir::6a50dc8584134c7de537c0052ff6d236bf874355e050c90523e0c5ff2a543a28"
    )
    assert ids.directory_doc("/a") != ids.directory_doc("/a/")


@given(file_id)
def test_document_ids_are_as_the_specs_say(file: FileId) -> None:
    node = NodeId("n-1")
    made = [
        ids.file_doc(file),
        ids.node_doc(node),
        ids.agent_status_doc(node),
        ids.utilization_doc(node, "2024-01-01T00:00:00.000Z"),
        ids.credential_doc("MOSAICFS_0123456789abcdef"),
        ids.label_assignment_doc(file),
        ids.label_rule_doc("r"),
        ids.plugin_doc(node, "ocr"),
        ids.annotation_doc(file, "ocr"),
        ids.notification_doc("n-1", "disk_full"),
        ids.storage_backend_doc("b"),
        ids.replication_rule_doc("r"),
        ids.replica_doc(file, "b"),
        ids.access_doc(file),
        ids.user_doc("ada"),
        ids.setting_doc("k"),
        ids.directory_doc("/a"),
    ]
    prefixes = [doc.partition("::")[0] for doc in made]
    assert len(set(prefixes)) == len(made)
    assert {prefix for _, prefix in DOCUMENT_TYPES.values()} <= set(prefixes)
