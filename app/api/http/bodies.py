"""Decodes JSON request bodies into msgspec structs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any, Generic, TypeVar

import msgspec
from fastapi import Request
from msgspec import inspect

from app.api.http.neutral_fields import SENT_NAMES, OtherFields
from app.errors import InvalidRequest, UnsupportedMedia, did_you_mean
from app.wording import fault_in_words

T = TypeVar("T", bound=msgspec.Struct)
UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")
MISSING = re.compile(r"Object missing required field `(.*?)`")
NEUTRAL = re.compile(r"Expected `\w+` (of length )?<= 0(\.0)?")  # the only accepted value is the neutral one
STEP = re.compile(r"\[[^\]]*\]|[^.\[\]]+")  # one step of a path such as `a.b[0]`: a field's name, or `[0]`
OF_OTHER_ROUTES = (  # (a field that other routes have, a field that this route has instead, the end of the error)
    ("prompt", "messages", "; send `messages`, or send the prompt to POST /v1/completions"),
    ("input", "messages", "; send `messages`, or send the input to POST /v1/responses"),
    ("messages", "prompt", "; send `prompt`, or send the messages to POST /v1/chat/completions"),
)
LISTED = 20  # the maximum number of fields that the error for an unknown field lists


class JsonBody(Generic[T]):
    """Decodes request bodies into structs of one type."""

    def __init__(self, kind: type[T], others: OtherFields | None = None, *, media: Collection[str] = ()) -> None:
        """`others` describes fields from other servers' APIs that are also accepted.

        `media` contains additional media types to accept, because another server's clients send JSON with them.
        """
        self.kind, self._others, self._media = kind, others, frozenset(media)
        self._decode = msgspec.json.Decoder(kind).decode

    async def read(self, request: Request) -> T:
        """Read and decode a body.

        Raises UnsupportedMedia for a content type other than JSON, and InvalidRequest for an invalid body. Error
        replies use the field names that the client sent (`as_sent`).
        """
        _check_type(request.headers.get("content-type"), self._media)
        names = request.scope[SENT_NAMES] = {}
        return self.decode(await request.body(), names)

    def decode(self, payload: bytes, names: dict[str, str] | None = None) -> T:
        """Decode a body. Raises InvalidRequest with the path of the invalid field as `param`.

        If a field was sent under another name, adds this name to `names`, with the name in the struct as the key.
        """
        if not payload:
            raise InvalidRequest("the request body is empty; send a JSON object")
        try:
            return self._decode(payload)
        except msgspec.ValidationError as error:
            if self._others is None or not UNKNOWN.match(str(error)):
                raise self._invalid(str(error)) from None
            translated, sources = self._others.translate(_plain(payload), self.kind)
            if names is not None:
                names |= {field: name for field, name in sources.items() if field != name}
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise _not_json(error) from None
        try:  # slower, so only used for bodies with an unknown field
            return msgspec.convert(translated, self.kind)
        except msgspec.ValidationError as error:
            raise self._invalid(str(error)) from None

    def _invalid(self, text: str) -> InvalidRequest:
        """Convert msgspec's message, such as "Expected `int`, got `str` - at `$.top_k`", to an error with a `param`."""
        what, _, place = text.replace(" - at `key` in `$", " as a key - at `$").partition(" - at `$")
        place = place.rstrip("`").lstrip(".")
        prefix = f"{place}." if place else ""
        if match := UNKNOWN.match(what):
            name = match.group(1)
            fields = fields_at(self.kind, place)
            every = f"; the fields are {', '.join(fields)}" if 0 < len(fields) <= LISTED else ""
            hint = _elsewhere(name, fields) or did_you_mean(name, fields, every)
            return InvalidRequest(f"unknown field {prefix + name!a}{hint}", code="unknown_field", param=prefix + name)
        if match := MISSING.match(what):
            return InvalidRequest(f"{prefix}{match.group(1)} is missing", param=prefix + match.group(1))
        if NEUTRAL.fullmatch(what) and len(_types_at(self.kind, place)) == 1:
            return InvalidRequest(f"{place} is not supported; leave it out", param=place)
        return InvalidRequest(f"{place or 'the request body'}{fault_in_words(what)}", param=place or None)


def _elsewhere(name: str, fields: Collection[str]) -> str:
    """Return a suffix for an error about a field of another route, or "" if there is no such route."""
    return next((hint for other, own, hint in OF_OTHER_ROUTES if other == name and own in fields), "")


def _plain(payload: bytes) -> dict[str, Any]:
    """Decode a body as a JSON object, without checking its fields."""
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _not_json(error) from None


def _not_json(error: Exception) -> InvalidRequest:
    about = str(error) if isinstance(error, msgspec.DecodeError) else "it is nested too deeply, or not encoded as UTF-8"
    return InvalidRequest(f"the request body is not valid JSON: {about}", code="invalid_json")


def fields_at(kind: type[msgspec.Struct], place: str) -> list[str]:
    """Return the field names at a path in a body, such as `stream_options`; the path "" is the body itself."""
    types = _types_at(kind, place)
    return [field.encode_name for type_ in types if isinstance(type_, inspect.StructType) for field in type_.fields]


def _types_at(kind: type[msgspec.Struct], place: str) -> list[inspect.Type]:
    """The types, other than null, that the value at a path in a body may have."""
    types = _members([inspect.type_info(kind)])
    for step in STEP.findall(place):
        types = _members(inner for type_ in types for inner in _inside(type_, step))
    return [type_ for type_ in types if not isinstance(type_, inspect.NoneType)]


def _members(types: Iterable[inspect.Type]) -> list[inspect.Type]:
    """Strip the annotations from the types, and replace unions with their members."""
    members: list[inspect.Type] = []
    for type_ in types:
        if isinstance(type_, inspect.UnionType):
            members += _members(type_.types)
        else:
            members += _members([type_.type]) if isinstance(type_, inspect.Metadata) else [type_]
    return members


def _inside(type_: inspect.Type, step: str) -> list[inspect.Type]:
    if isinstance(type_, inspect.StructType):
        return [field.type for field in type_.fields if field.encode_name == step]
    return [type_.item_type] if isinstance(type_, inspect.CollectionType) and step.startswith("[") else []


def _check_type(content_type: str | None, others: Collection[str]) -> None:
    # A browser sends application/json to another origin only after a CORS preflight, which succeeds only for the
    # origins in the setting `allowed_origins`. Text and forms are sent without a preflight; then only the check of the
    # Origin header (`auth.py`) protects the route. Therefore, only routes that change nothing may accept `others`.
    kind = (content_type or "application/json").partition(";")[0].strip().lower()
    if kind not in ("application/json", *others) and not kind.endswith("+json"):
        raise UnsupportedMedia(f"the request body must be application/json, not {kind[:60]!a}")
