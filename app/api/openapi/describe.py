"""What the OpenAPI document says of routes that read and write msgspec structs. Knows structs and examples."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from app.api.openapi.parameters import illustrate

REF = "#/components/schemas/{name}"
MEANINGS = {
    400: "The request cannot be answered as it is; `param` names the field",
    401: "The key is missing or wrong",
    403: "A request from another web site",
    404: "No such model, or none that this principal may see",
    405: "Another method is meant",
    409: "The alias is not where it was expected to be; look again before you move it",
    413: "The body is too large",
    415: "The body is of another type than the route reads",
    429: "Too much is waiting; `Retry-After` says when to come back",
    500: "A fault of the service; the log tells more under `x-request-id`",
    503: "No engine, or the version is still being loaded; `Retry-After` says when to come back",
    504: "The time limit has passed",
}
COMMON = (400, 401, 403, 413, 415, 500)
INFERENCE = (*COMMON, 404, 429, 503, 504)

_documented: dict[str, type[msgspec.Struct]] = {}


class ErrorDetail(msgspec.Struct, frozen=True):
    """What was wrong. `code` is stable and made for programs."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorReply(msgspec.Struct, frozen=True):
    error: ErrorDetail


class Noted(NamedTuple):
    """An example of a body, and what must be there for it to work."""

    value: dict[str, Any]
    summary: str


def _ref(kind: type[msgspec.Struct]) -> dict[str, str]:
    _documented[kind.__name__] = kind
    return {"$ref": REF.format(name=kind.__name__)}


def reads(kind: type[msgspec.Struct], **examples: dict[str, Any] | Noted) -> dict[str, Any]:
    """`openapi_extra` of a route whose handler decodes the body by itself."""
    named = {
        name.replace("_", " "): said._asdict() if isinstance(said, Noted) else {"value": said}
        for name, said in examples.items()
    }
    content = {"application/json": {"schema": _ref(kind), "examples": named}}
    return {"requestBody": {"required": True, "content": content}}


def replies(
    kind: type[msgspec.Struct], example: Any, errors: tuple[int, ...] = INFERENCE, stream: str | None = None
) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route; `stream`: an example of the events where the reply may be a stream."""
    content: dict[str, Any] = {"application/json": {"schema": _ref(kind), "example": example}}
    if stream is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}, "example": stream}
    return {200: {"description": "The answer", "content": content}, **failures(*errors)}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` for errors alone, for any route."""
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
    """Add schemas, the key and examples of parameters, and take out what FastAPI says of errors that we never send."""
    components = document.setdefault("components", {})
    _, schemas = msgspec.json.schema_components(_documented.values(), ref_template=REF)
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
