"""Labels: given to a file directly, or by rules to whole folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from events import commands
from events.ids import (
    FileId,
    label_assignment_doc,
    label_rule_doc,
    new_uuid,
)
from events.vocabulary.catalog import LabelRuleBody
from gateway.api.shapes import (
    Cursor,
    Limit,
    Written,
    decode_cursor,
    document,
    encode_cursor,
    page_size,
    plain,
    written,
)
from gateway.errors import NotFound
from gateway.routing import Call, delete, get, post, put

if TYPE_CHECKING:
    from gateway.catalogue import Catalogue

Labels = Annotated[list[str], msgspec.Meta(max_length=100)]


class LabelCount(msgspec.Struct, frozen=True):
    """A label, how many files bear it directly, and how many rules give it."""

    label: str
    files: int
    rules: int


class AllLabels(msgspec.Struct, frozen=True):
    labels: list[LabelCount]


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The labels that a file bears directly."""

    file_id: str
    rev: str
    labels: list[str]
    created_at: str
    updated_at: str


class AssignmentsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cursor: Cursor | None = None
    limit: Limit = 100


class Assignments(msgspec.Struct, frozen=True, omit_defaults=True):
    assignments: list[Assignment]
    next: str | None = None


class Assign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """These labels and no others; none clears them."""

    labels: Labels


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Every file of the node (`*`: of every node) below the prefix bears the labels."""

    id: str
    rev: str
    name: str
    node: str
    path_prefix: str
    labels: list[str]
    enabled: bool
    created_at: str
    updated_at: str


class Rules(msgspec.Struct, frozen=True):
    rules: list[Rule]


class RuleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`node` is a node's id or `*`; `path_prefix` starts and ends with a slash."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    node: str
    path_prefix: Annotated[str, msgspec.Meta(pattern="^/", max_length=4096)]
    labels: Labels
    enabled: bool = True


class EffectiveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file: Annotated[str, msgspec.Meta(description="Id of the file.")]


class Effective(msgspec.Struct, frozen=True):
    """All labels of a file: the direct ones, and those by rule with the rules that give them."""

    file_id: str
    labels: list[str]
    direct: list[str]
    by_rule: dict[str, list[str]]


@get("/api/labels", tag="labels")
async def labels(call: Call) -> AllLabels:
    """Every label that is in use."""
    counts = await call.context.views.read(lambda view: view.labels())
    return AllLabels([LabelCount(*each) for each in counts])


@get("/api/labels/effective", tag="labels", problems=(404,))
async def effective_labels(call: Call, query: EffectiveQuery) -> Effective:
    """All labels that a file bears."""

    def look(view: Catalogue) -> Effective | None:
        row = view.file(query.file)
        if row is None:
            return None
        assigned = view.direct_labels(row.id)
        direct = list(assigned["labels"]) if assigned else []
        by_rule: dict[str, list[str]] = {}
        for rule in view.rules_of(row):
            for label in rule.labels:
                by_rule.setdefault(label, []).append(rule.id)
        return Effective(row.id, sorted({*direct, *by_rule}), direct, by_rule)

    found = await call.context.views.read(look)
    if found is None:
        raise NotFound("there is no such file")
    return found


@get("/api/labels/assignments", tag="labels", problems=(400,))
async def assignments(call: Call, query: AssignmentsQuery) -> Assignments:
    """The files that bear labels directly, page by page."""
    limit = page_size(call, query.limit)
    after = "" if query.cursor is None else decode_cursor(query.cursor, tuple[str])[0]
    bodies = await call.context.views.read(
        lambda view: view.documents("label_assignment", after=after, limit=limit + 1)
    )
    page = [msgspec.convert(plain(body), Assignment) for body in bodies[:limit]]
    more = encode_cursor((bodies[limit - 1]["_id"],)) if len(bodies) > limit else None
    return Assignments(page, more)


@get("/api/labels/assignments/{file}", tag="labels")
async def assignment(call: Call, file: str) -> Assignment:
    """The direct labels of a file."""
    body = await document(call, label_assignment_doc(FileId(file)), "direct label on this file")
    call.etag = body["_rev"]
    return msgspec.convert(plain(body), Assignment)


@put("/api/labels/assignments/{file}", tag="labels", conditional=True)
async def assign_labels(call: Call, file: str, body: Assign) -> Written:
    """Give a file exactly these direct labels."""
    row = await call.context.views.read(lambda view: view.file(file))
    if row is None:
        raise NotFound("there is no such file")
    # The id as the file has it, so that another spelling of it is not another document.
    return await _assign(call, row.id, body.labels)


@delete("/api/labels/assignments/{file}", tag="labels", conditional=True)
async def clear_labels(call: Call, file: str) -> Written:
    """Take all direct labels from a file."""
    await document(call, label_assignment_doc(FileId(file)), "direct label on this file")
    return await _assign(call, FileId(file), [])


async def _assign(call: Call, file: FileId, labels: list[str]) -> Written:
    doc = label_assignment_doc(file)
    command = commands.AssignLabels(file_id=file, labels=labels, expects=call.expects(doc))
    committed = await call.context.commands.submit(command, call.principal.name)
    return await written(call, committed, doc)


@get("/api/labels/rules", tag="labels")
async def label_rules(call: Call) -> Rules:
    """Every label rule."""
    bodies = await call.context.views.read(lambda view: view.documents("label_rule"))
    return Rules([_rule(body) for body in bodies])


def _rule(body: dict[str, Any]) -> Rule:
    id = str(body["_id"]).removeprefix("label_rule::")
    return msgspec.convert({**plain(body), "id": id}, Rule)


@post("/api/labels/rules", tag="labels", status=201)
async def create_label_rule(call: Call, body: RuleBody) -> Written:
    """Make a label rule; its id is in `Location`."""
    id = new_uuid()
    command = commands.CreateLabelRule(id=id, body=_rule_body(body))
    committed = await call.context.commands.submit(command, call.principal.name)
    call.headers["location"] = f"/api/labels/rules/{id}"
    return await written(call, committed, label_rule_doc(id))


@get("/api/labels/rules/{rule}", tag="labels")
async def label_rule(call: Call, rule: str) -> Rule:
    """One label rule."""
    body = await document(call, label_rule_doc(rule), "such label rule")
    call.etag = body["_rev"]
    return _rule(body)


@put("/api/labels/rules/{rule}", tag="labels", conditional=True)
async def edit_label_rule(call: Call, rule: str, body: RuleBody) -> Written:
    """Replace a label rule."""
    doc = label_rule_doc(rule)
    command = commands.EditLabelRule(id=rule, body=_rule_body(body), expects=call.expects(doc))
    committed = await call.context.commands.submit(command, call.principal.name)
    return await written(call, committed, doc)


@delete("/api/labels/rules/{rule}", tag="labels", conditional=True)
async def remove_label_rule(call: Call, rule: str) -> Written:
    """Remove a label rule."""
    doc = label_rule_doc(rule)
    command = commands.RemoveLabelRule(id=rule, expects=call.expects(doc))
    committed = await call.context.commands.submit(command, call.principal.name)
    return await written(call, committed, doc)


def _rule_body(body: RuleBody) -> LabelRuleBody:
    return LabelRuleBody(**msgspec.structs.asdict(body))
