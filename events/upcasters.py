"""Lifts for event bodies that were written by older versions of MosaicFS.

When a type's schema changes, raise its `version`, add the lift from the version before under
`(tag, old_version)`, and add a golden sample of the new version to `tests/test_events/golden/`. The
samples of all older versions stay and must decode for ever. A lift is pure: body in, body out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

# Empty as long as every type is at version 1.
UPCASTERS: dict[tuple[str, int], Upcaster] = {}
