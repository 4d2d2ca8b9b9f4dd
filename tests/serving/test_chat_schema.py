"""The chat route against its own schema: requests made from it are answered, and others refused in OpenAI's form."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
pytest.importorskip("schemathesis")
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from si_embodied.serving.chat_format import ChatRequest

PATH = "/v1/chat/completions"
PIECES = {"message", "type", "param", "code"}


def document() -> dict[str, Any]:
    """The route as OpenAPI: its request, a whole answer or a stream, and errors."""
    body = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    error = {"type": "object", "required": sorted(PIECES), "properties": {"message": {"type": "string"}}}
    errors = {"application/json": {"schema": {"properties": {"error": error}, "required": ["error"]}}}
    answer = {"type": "object", "required": ["id", "choices", "created", "model", "object", "usage"]}
    data = {"type": "string", "pattern": r"^(\{.*\}|\[DONE\])$"}
    event = {"type": "object", "required": ["data"], "properties": {"data": data}}  # of each event, in OpenAPI 3.1
    replies = {"application/json": {"schema": answer}, "text/event-stream": {"schema": event}}
    post = {
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "an answer", "content": replies},
            **{str(code): {"description": "an error", "content": errors} for code in (400, 404, 413)},
        },
    }
    schemas = {"schemas": body.pop("$defs")}
    return {"openapi": "3.1.0", "info": {"title": "chat", "version": "1"}, "paths": {PATH: {"post": post}},
            "components": schemas}  # fmt: skip


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_request_gets_an_answer_or_an_error_of_the_schema(server: Any, mode: GenerationMode) -> None:
    """Valid requests name the served model; what their schema cannot say, such as the order of roles, gets a 400."""
    operation = schemathesis.openapi.from_dict(document())[PATH]["POST"]
    statuses = set()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            case.body["model"] = "obedient"
        checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
        reply = case.call(base_url=server.http)
        case.validate_response(reply, checks=checks)
        statuses.add(reply.status_code)

    check()
    assert (200 if mode is GenerationMode.POSITIVE else 400) in statuses
