"""Describes routes that read and write msgspec structs, for the OpenAPI document."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from app.api.http.dialects import DEFAULT, Dialect, ErrorReply, dialect_of
from app.api.openapi.parameters import illustrate
from app.api.openapi.schemas import REF, Schema, constrain, described, partial_structs, tidy
from app.errors import OstinatoError

MEANINGS = {
    400: "The request is invalid; `param` names the field",
    401: "The API key is missing or unknown",
    403: "The API key may not send this request, or the request comes from another web site",
    404: "The object does not exist, or this key may not see it",
    405: "The path does not allow this method",
    409: "The alias does not point to the expected version; retrieve the alias before trying again",
    413: "The request body is too large",
    415: "The request body has an unsupported content type",
    424: "The model cannot perform this task",
    429: "Too many requests are waiting, or a quota is used up; `Retry-After` indicates when to try again",
    500: "An internal error; the log shows the cause under the request's `x-request-id`",
    503: (
        "The database is not responding, no engine is running, or the version is still being loaded; `Retry-After` "
        "indicates when to try again"
    ),
    504: "The request was not answered within its time limit",
}
COMMON = (400, 401, 403, 413, 415, 500)
LOOKUP = (*COMMON, 404)  # errors of routes that look up an object
INFERENCE = (*LOOKUP, 504)
# Errors of every route that needs a key, which `complete` adds: quotas apply to all of these routes, and the database
# or the service itself may be unavailable.
KEYED = (429, 503)

NULL = "\0null"  # a placeholder for null in examples, because FastAPI removes every null from the document

NUMBER: Schema = {"type": "number"}

_structs: dict[str, type[msgspec.Struct]] = {}
_requests: set[str] = set()
_bounds: dict[str, dict[str, Schema]] = {}  # schema -> field -> keywords that the struct does not express
_extra: dict[str, Schema] = {}  # schemas that do not belong to a struct


class Noted(NamedTuple):
    """An example of a request body, with a summary of what the example requires."""

    value: dict[str, Any]
    summary: str


def schema_of(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return a reference to the schema of a struct, and add the schema to the document."""
    _structs[kind.__name__] = kind
    return {"$ref": REF.format(name=kind.__name__)}


def list_schema(items: Schema) -> Schema:
    """Return the schema of a list, given the schema of its items."""
    return {"type": "array", "items": items}


def reads(kind: type[msgspec.Struct], **examples: dict[str, Any] | Noted) -> dict[str, Any]:
    """Return `openapi_extra` for a `JsonBody` route. Underscores in example names are shown as spaces."""
    named = {
        name.replace("_", " "): example._asdict() if isinstance(example, Noted) else {"value": example}
        for name, example in examples.items()
    }
    _requests.add(kind.__name__)
    content = {"application/json": {"schema": schema_of(kind), "examples": _keep_nulls(named)}}
    return {"requestBody": {"required": True, "content": content}}


def inputs(kind: type[msgspec.Struct], **examples: dict[str, Any] | Noted) -> dict[str, Any]:
    """Return `openapi_extra` for a route that reads a JSON object, text or list.

    Such a route may also accept plain text, but Python client generators cannot process a document that declares this.
    """
    body = reads(kind, **examples)
    values = body["requestBody"]["content"]["application/json"]
    plain = {"type": "string", "minLength": 1, "pattern": r"\S"}
    values["schema"] = {"anyOf": [values["schema"], plain, {"type": "array", "items": {}, "minItems": 1}]}
    return body


def replies(
    kind: type[msgspec.Struct],
    example: Any,
    errors: tuple[int, ...] = INFERENCE,
    stream: str | None = None,
    event: type[msgspec.Struct] | None = None,
    done: bool = True,
    other: tuple[type[msgspec.Struct], Any] | None = None,
    stream_media: str = "text/event-stream",
    nested: bool = False,
) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for a route.

    `stream` is an example of the events, for a route that can stream. `event` is the type of an event if it differs
    from the reply's type. `stream_media` is the media type of the stream. If the example is a list, the reply is a list
    of `kind` or, with `nested`, possibly a list of such lists. Without an example, the reply is always a stream. If
    `done` is true, the stream ends with `[DONE]`. `other` describes the alternative reply, with an example, for a route
    with two kinds of replies.
    """
    schema: Schema = {"type": "array", "items": schema_of(kind)} if isinstance(example, list) else schema_of(kind)
    if nested:
        schema = {"anyOf": [schema, {"type": "array", "items": schema}]}
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": _keep_nulls(example)}}
    if example is None:
        del content["application/json"]
    if other is not None:
        schemas = [schema_of(kind), schema_of(other[0])]
        examples = {kind.__name__: example, other[0].__name__: other[1]}
        named = {name: {"value": _keep_nulls(value)} for name, value in examples.items()}
        content["application/json"] = {"schema": {"oneOf": schemas}, "examples": named}
    if stream is not None:
        schema = _event(event or kind, done) if stream_media == "text/event-stream" else schema_of(event or kind)
        content[stream_media] = {"schema": schema, "example": stream}
    return {200: {"description": "Success", "content": content}, **failures(*errors)}


def replies_json(
    schema: Schema,
    example: Any,
    *,
    named: bool = False,
    stream: str | None = None,
    event: type[msgspec.Struct] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for a route whose reply is not an object.

    If `named` is true, `example` contains several examples by name.

    `stream` is an example of the events, for a route that can stream, and `event` is the type of an event.
    """
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    shown = {name: {"value": value} for name, value in example.items()} if named else example
    content["application/json"]["examples" if named else "example"] = _keep_nulls(shown)
    if stream is not None:
        data = {"type": "string"} if event is None else _event(event, done=False)
        content["text/event-stream"] = {"schema": data, "example": stream}
    return {200: {"description": "Success", "content": content}, **failures(*INFERENCE)}


def bound(kind: type[msgspec.Struct], **fields: Schema) -> None:
    """Add constraints that a struct cannot express, such as patterns that are checked elsewhere."""
    _bounds.setdefault(kind.__name__, {}).update(fields)


def define(name: str, schema: Schema) -> dict[str, str]:
    """Add a schema that does not belong to a struct, and return a reference to it."""
    _extra[name] = schema
    return {"$ref": REF.format(name=name)}


def _event(kind: type[msgspec.Struct], done: bool) -> Schema:
    """The schema of one server-sent event: `data` is JSON or, if `done` is true, `[DONE]` at the end of the stream."""
    chunk = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema_of(kind)}
    data = {"anyOf": [{"type": "string", "const": "[DONE]"}, chunk]} if done else chunk
    description = "One event of the stream. `data` is a chunk or an error as JSON"
    description += ", and `[DONE]` in the last event." if done else "."
    return {"type": "object", "description": description, "properties": {"data": data}, "required": ["data"]}


def _keep_nulls(example: Any) -> Any:
    if isinstance(example, dict):
        return {key: _keep_nulls(value) for key, value in example.items()}
    if isinstance(example, list):
        return [_keep_nulls(value) for value in example]
    return NULL if example is None else example


def _restore_nulls(document: Any) -> None:
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        if value == NULL:
            document[key] = None
        elif isinstance(value, dict | list):
            _restore_nulls(value)


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for the errors of a route. `complete` converts the errors to the route's dialect."""
    return {status: _failure(status, DEFAULT)[1] for status in sorted(statuses)}


def _failure(status: int, dialect: Dialect) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and description of a dialect's reply to an error with status `status`."""
    error = OstinatoError(MEANINGS[status], code="example")
    error.status = status
    rendered, body = dialect.render_error(error)
    content = {"application/json": {"schema": schema_of(dialect.error_reply), "example": _keep_nulls(body)}}
    return rendered, {"description": MEANINGS[status], "content": content}


def _translate(replies_: dict[str, Any], dialect: Dialect) -> None:
    """Convert the error descriptions that `failures` returned to the format of a dialect."""
    if dialect.error_reply is ErrorReply:
        return
    reference = REF.format(name=ErrorReply.__name__)
    statuses = [status for status, reply in replies_.items() if reference in str(reply.get("content"))]
    for status in statuses:
        del replies_[status]
    for status in statuses:
        rendered, reply = _failure(int(status), dialect)
        replies_.setdefault(str(rendered), reply)


def complete(
    document: dict[str, Any], secured: bool, public: frozenset[str], dialects: Sequence[Dialect]
) -> dict[str, Any]:
    """Add the structs' schemas, the API key and the parameters' examples to FastAPI's document.

    Replaces status 422, which FastAPI uses for validation errors, with 400, which this service uses. Adds the errors
    that every route with a key has, and converts each route's errors to its dialect's statuses and format.
    """
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            dialect = dialect_of(method.upper(), path, dialects)
            illustrate(operation)
            replies_ = operation.get("responses", {})
            if "HTTPValidationError" in str(replies_.get("422", "")):
                del replies_["422"]
                for status, reply in failures(400).items():
                    replies_.setdefault(str(status), reply)
            if method == "get" and any(p["name"] == "after" for p in operation.get("parameters", ())):
                replies_.setdefault("404", failures(404)[404])  # if no item has the id in `after`
            if path not in public:
                replies_.update({str(status): reply for status, reply in failures(*KEYED).items()})
            _translate(replies_, dialect)
            if secured and path not in public:
                operation["security"] = [{"key": []}]
    components = document.setdefault("components", {})
    components["schemas"] = dict(sorted(_schemas(components.get("schemas", {})).items()))
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    _restore_nulls(document)
    return document


def _schemas(others: dict[str, Schema]) -> dict[str, Schema]:
    """The schemas of all structs, merged with `others`, the schemas that FastAPI has collected."""
    schemas = described(_structs.values()) | copy.deepcopy(_extra) | others
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for name, fields in _bounds.items():
        for field, keywords in fields.items():
            constrain(schemas[name]["properties"][field], **copy.deepcopy(keywords))
    tidy(schemas, _requests, partial_structs(_structs.values()))
    return schemas
