"""The OpenAPI 3.1 document, generated from the declared endpoints and their types."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.problems import MEDIA_TYPE, Problem
from gateway.routing import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.routing import Endpoint

_REFERENCE: Final = "#/components/schemas/{name}"
_WORDS: Final = {
    400: "The request cannot be understood.",
    401: "Nobody is logged in, or not rightly.",
    403: "Not allowed.",
    404: "There is no such thing.",
    409: "Somebody else changed it first, or it is there already; `rev` is the present revision.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A value is not acceptable.",
    429: "Too many attempts; wait as `Retry-After` says.",
    502: "The event log takes no such change.",
    503: "The event log or the view is away; try again.",
}
_TAGS: Final = {
    "sessions": "Logging in and out.",
    "nodes": "Machines.",
    "files": "Files of all machines, and search.",
    "labels": "Labels of files and folders.",
    "directories": "What the virtual tree is made of.",
    "notifications": "What people should know.",
    "system": "The gateway itself.",
}


def document(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """The whole document."""
    kinds: list[Any] = [Problem]
    for each in endpoints:
        kinds += [kind for kind in (each.query, each.body, _answer(each)) if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    known = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    queries = {each.query.__name__ for each in endpoints if each.query is not None}
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        path = each.path.replace(":path}", "}")
        paths.setdefault(path, {})[each.method.lower()] = _operation(each, known, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MosaicFS",
            "version": version,
            "description": "Files of all machines, and everything that is configured about them. "
            "Each write answers after it is visible to reads. Errors are problem+json.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in queries},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _answer(endpoint: Endpoint) -> object:
    return None if endpoint.answer in (None, type(None), Text) else endpoint.answer


def _operation(
    endpoint: Endpoint, known: dict[int, Any], components: dict[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "responses": _responses(endpoint, known),
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.open:
        operation["security"] = []
    parameters = [
        {"name": part, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for part in endpoint.parts
    ]
    if endpoint.query is not None:
        parameters += _query(components[endpoint.query.__name__])
    if endpoint.conditional:
        parameters.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": False,
                "description": "The revision that is edited, in quotes; another one is a conflict.",
                "schema": {"type": "string"},
            }
        )
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": known[id(endpoint.body)]}},
        }
    return operation


def _query(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = set(schema.get("required", ()))
    parameters = []
    for name, raw in schema.get("properties", {}).items():
        inner = dict(raw)
        if "anyOf" in inner:
            # A parameter that may be left out is never the text "null".
            left = [each for each in inner.pop("anyOf") if each != {"type": "null"}]
            inner |= left[0] if len(left) == 1 else {"anyOf": left}
        if inner.get("default", ...) is None:
            del inner["default"]
        if "enum" in inner:
            inner["enum"] = [each for each in inner["enum"] if each is not None]
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in required}
        if text := inner.pop("description", None):
            parameter["description"] = text
        parameters.append({**parameter, "schema": inner})
    return parameters


def _responses(endpoint: Endpoint, known: dict[int, Any]) -> dict[str, Any]:
    answer = _answer(endpoint)
    good: dict[str, Any] = {"description": _described(answer)}
    if answer is not None:
        good["content"] = {"application/json": {"schema": known[id(answer)]}}
    elif endpoint.answer is Text:
        good["content"] = {"text/plain": {"schema": {"type": "string"}}}
    responses = {str(endpoint.status): good}
    if endpoint.method == "GET":
        responses["304"] = {"description": "As the caller has it, by If-None-Match."}
    for status in sorted(endpoint.problems):
        responses[str(status)] = {
            "description": _WORDS[status],
            "content": {MEDIA_TYPE: {"schema": known[id(Problem)]}},
        }
    if endpoint.path == "/health":
        # Health that failed is the same answer with another status.
        responses["503"] = {**good, "description": "A part that nothing works without has failed."}
    return responses


def _described(answer: object) -> str:
    text = inspect.getdoc(answer) if isinstance(answer, type) else None
    return text.replace("\n", " ") if text else "Done."
