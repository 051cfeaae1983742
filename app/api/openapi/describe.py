"""Descriptions of routes that read and write msgspec structs, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from app.api.openapi.parameters import illustrate

REF = "#/components/schemas/{name}"
MEANINGS = {
    400: "The request is invalid; `param` names the field",
    401: "The API key is missing or unknown",
    403: "The request comes from another web site",
    404: "There is no such object, or this key may not see it",
    405: "The path does not allow this method",
    409: "The alias does not point at the expected version; retrieve it before trying again",
    413: "The request body is too large",
    415: "The request body has an unsupported content type",
    429: "Too many requests are waiting; `Retry-After` says when to try again",
    500: "An internal error; the log has its cause under the request's `x-request-id`",
    503: "No engine is running, or the version is still being loaded; `Retry-After` says when to try again",
    504: "The request was not answered within its time limit",
}
COMMON = (400, 401, 403, 413, 415, 500)
LOOKUP = (*COMMON, 404)  # of routes that look something up
INFERENCE = (*LOOKUP, 429, 503, 504)

_structs: dict[str, type[msgspec.Struct]] = {}


class ErrorDetail(msgspec.Struct, frozen=True):
    """An error. `code` is stable and meant for programs; `param` names the invalid field of the request."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorReply(msgspec.Struct, frozen=True):
    """The reply to a request that failed."""

    error: ErrorDetail


class Noted(NamedTuple):
    """An example of a request body, with a summary of what it needs."""

    value: dict[str, Any]
    summary: str


def _ref(kind: type[msgspec.Struct]) -> dict[str, str]:
    _structs[kind.__name__] = kind
    return {"$ref": REF.format(name=kind.__name__)}


def reads(kind: type[msgspec.Struct], **examples: dict[str, Any] | Noted) -> dict[str, Any]:
    """`openapi_extra` of a route that decodes its body with `JsonBody`. Examples are shown under their names, with
    spaces for underscores."""
    named = {
        name.replace("_", " "): example._asdict() if isinstance(example, Noted) else {"value": example}
        for name, example in examples.items()
    }
    content = {"application/json": {"schema": _ref(kind), "examples": named}}
    return {"requestBody": {"required": True, "content": content}}


def replies(
    kind: type[msgspec.Struct], example: Any, errors: tuple[int, ...] = INFERENCE, stream: str | None = None
) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route. `stream` is an example of its events, for a route that can stream."""
    content: dict[str, Any] = {"application/json": {"schema": _ref(kind), "example": example}}
    if stream is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}, "example": stream}
    return {200: {"description": "Success", "content": content}, **failures(*errors)}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route's errors."""
    return {
        status: {
            "description": MEANINGS[status],
            "content": {"application/json": {"schema": _ref(ErrorReply), "example": _error(status)}},
        }
        for status in sorted(statuses)
    }


def _error(status: int) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": MEANINGS[status], "type": kind, "param": None, "code": "example"}}


def complete(document: dict[str, Any], secured: bool, public: frozenset[str]) -> dict[str, Any]:
    """Add the structs, the API key and examples of parameters to FastAPI's document.

    Replaces FastAPI's 422 by 400, since validation errors are answered with 400 here.
    """
    components = document.setdefault("components", {})
    _, schemas = msgspec.json.schema_components(_structs.values(), ref_template=REF)
    schemas |= components.get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["schemas"] = dict(sorted(schemas.items()))
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            illustrate(operation)
            replies_ = operation.get("responses", {})
            if "HTTPValidationError" in str(replies_.get("422", "")):
                del replies_["422"]
                for status, reply in failures(400).items():
                    replies_.setdefault(str(status), reply)
            if secured and path not in public:
                operation["security"] = [{"key": []}]
    return document
