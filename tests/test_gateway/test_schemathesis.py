"""Every endpoint against everything that its description allows, and more: no 5xx, and no answer
that is not described."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

if TYPE_CHECKING:
    from tests.test_gateway.world import Gateway

pytestmark = pytest.mark.slow

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# It would end the sessions of all others.
_LEFT_OUT = {"/api/auth/logout", "/api/auth/password"}


def test_the_api_is_as_described(gateway: Gateway, token: str) -> None:
    schema = schemathesis.openapi.from_url(f"{gateway.base}/api/openapi.json")
    seen: Counter[int] = Counter()
    for result in schema.get_all_operations():
        assert isinstance(result, schemathesis.core.result.Ok)
        operation = result.ok()
        if operation.path in _LEFT_OUT:
            continue
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            @hypothesis.settings(
                max_examples=60,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            def attack(case: schemathesis.Case[Any]) -> None:
                headers = {"authorization": f"Bearer {token}"}
                response = case.call(base_url=gateway.base, headers=headers)
                seen[response.status_code] += 1
                case.validate_response(response, checks=_CHECKS)

            try:
                attack()
            except hypothesis.errors.Unsatisfiable:
                # Nothing can be wrong with a request that takes nothing.
                continue
    assert seen.total() > 2000
    # It came past the gate, and it met every kind of refusal.
    assert {200, 201, 400, 404, 422} <= seen.keys(), seen
