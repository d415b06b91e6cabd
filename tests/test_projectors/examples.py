"""One document of each type, folded from the golden samples of the vocabulary."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from events.codec import MESSAGE_ID
from events.streams import BY_AREA
from events.vocabulary import TYPES
from projectors.documents.reader import Reader
from projectors.documents.view import DocumentsView
from tests.test_projectors.tape import CREATED, Tape

if TYPE_CHECKING:
    from collections.abc import Mapping

_GOLDEN: Final = Path(__file__).parents[1] / "test_events" / "golden"

# The events that are folded for the page, in this order.
_STORY: Final = (
    *("file.indexed", "directory.created", "node.registered", "node.configured", "node.status"),
    *("credential.issued", "utilization.measured", "labels.assigned", "label_rule.created"),
    *("plugin.configured", "annotation.written", "notice.raised", "backend.configured"),
    *("replication_rule.created", "replica.written", "access.recorded", "user.created"),
    "setting.changed",
)


def examples(folder: Path) -> Mapping[str, dict[str, Any]]:
    """The first document of each type."""
    tape = Tape()
    for tag in _STORY:
        golden = json.loads((_GOLDEN / f"{tag}.v1.json").read_text())
        tape.store(
            golden["subject"],
            {**golden["headers"], MESSAGE_ID: tape.next_id()},
            json.dumps(golden["body"]).encode(),
            BY_AREA[TYPES[tag].area].name,
        )
    path = folder / "examples.db"
    with closing(DocumentsView(path)) as view:
        view.adopt(CREATED)
        assert view.apply(tape.messages).dead == 0
    found: dict[str, dict[str, Any]] = {}
    with Reader(path) as reader:
        for change in reader.changes({}, bodies=True):
            if change.document is not None:
                found.setdefault(change.document["type"], change.document)
    return found
