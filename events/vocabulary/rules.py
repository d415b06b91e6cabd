"""The step pipeline: ten operations, shared by directories, plugins and replication rules.

These are the shapes only. Meaning and evaluation live with the rule engine.
"""

from __future__ import annotations

from typing import Literal

import msgspec

OnMatch = Literal["include", "exclude", "continue"]
Comparison = Literal["gt", "lt", "eq", "gte", "lte"]


class Step(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="op",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """One question put to a file, and what follows from yes."""

    invert: bool = False
    on_match: OnMatch = "continue"


class Glob(Step, frozen=True, kw_only=True, tag="glob"):
    pattern: str


class Regex(Step, frozen=True, kw_only=True, tag="regex"):
    pattern: str
    flags: Literal["", "i"] = ""


class Age(Step, frozen=True, kw_only=True, tag="age"):
    comparison: Comparison
    days: float


class Size(Step, frozen=True, kw_only=True, tag="size"):
    comparison: Comparison
    bytes: int


class Mime(Step, frozen=True, kw_only=True, tag="mime"):
    types: list[str]


class Node(Step, frozen=True, kw_only=True, tag="node"):
    nodes: list[str]


class Label(Step, frozen=True, kw_only=True, tag="label"):
    labels: list[str]


class AccessAge(Step, frozen=True, kw_only=True, tag="access_age"):
    comparison: Comparison
    days: float
    missing: Literal["include", "exclude"] = "exclude"


class Replicated(Step, frozen=True, kw_only=True, tag="replicated"):
    target: str | None = None
    status: tuple[Literal["current", "stale", "frozen"], ...] = ("current",)


class Annotation(Step, frozen=True, kw_only=True, tag="annotation"):
    plugin: str
    key: str
    comparison: Literal["exists", "gt", "lt", "eq", "gte", "lte", "contains"] = "exists"
    value: str | float | bool | None = None


AnyStep = Glob | Regex | Age | Size | Mime | Node | Label | AccessAge | Replicated | Annotation
