"""Reading a request: its JSON body into a struct, and what headers and query say.

Knows msgspec and its complaints; knows no route. What a body may hold is said by its struct alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec
from fastapi import Request
from msgspec import inspect

from app.api.http.context import context_of
from app.errors import InvalidRequest, UnsupportedMedia, did_you_mean

T = TypeVar("T", bound=msgspec.Struct)
UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")
MILLISECONDS = re.compile("[1-9][0-9]{0,10}")
MISSING = re.compile(r"Object missing required field `(.*?)`")
STEP = re.compile(r"\[[^\]]*\]|[^.\[\]]+")  # of a place: a field's name, or `[0]`


class JsonBody(Generic[T]):
    """Decodes bodies into one kind of struct. Raises InvalidRequest with the field's name."""

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind
        self._decode = msgspec.json.Decoder(kind).decode

    async def read(self, request: Request) -> T:
        _check_type(request.headers.get("content-type"))
        return self.decode(await request.body())

    def decode(self, payload: bytes) -> T:
        if not payload:
            raise InvalidRequest("the body is empty; send a JSON object")
        try:
            return self._decode(payload)
        except msgspec.ValidationError as error:
            raise self._complaint(str(error)) from None
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"the body is no valid JSON: {error}", code="invalid_json") from None
        except (RecursionError, UnicodeDecodeError):
            raise InvalidRequest("the body is no JSON of sane depth and encoding", code="invalid_json") from None

    def _complaint(self, text: str) -> InvalidRequest:
        what, _, place = text.partition(" - at `$")
        place = place.rstrip("`").lstrip(".")
        prefix = f"{place}." if place else ""
        if found := UNKNOWN.match(what):
            name = found.group(1)
            hint = did_you_mean(name, fields_at(self.kind, place))
            return InvalidRequest(f"unknown field {prefix + name!a}{hint}", code="unknown_field", param=prefix + name)
        if found := MISSING.match(what):
            return InvalidRequest(f"{prefix}{found.group(1)} is missing", param=prefix + found.group(1))
        return InvalidRequest(f"{place or 'the body'}: {what[:1].lower()}{what[1:]}", param=place or None)


def fields_at(kind: type[msgspec.Struct], place: str) -> list[str]:
    """What objects at a place of a body may hold: at `stream_options`, at `input[0]`, or at "", the body itself."""
    here = _plain([inspect.type_info(kind)])
    for step in STEP.findall(place):
        here = _plain(found for part in here for found in _inside(part, step))
    return [field.encode_name for part in here if isinstance(part, inspect.StructType) for field in part.fields]


def _plain(kinds: Iterable[inspect.Type]) -> list[inspect.Type]:
    """Each kind that a value may be of: of a union, its members."""
    found: list[inspect.Type] = []
    for kind in kinds:
        if isinstance(kind, inspect.UnionType):
            found += _plain(kind.types)
        else:
            found += _plain([kind.type]) if isinstance(kind, inspect.Metadata) else [kind]
    return found


def _inside(kind: inspect.Type, step: str) -> list[inspect.Type]:
    if isinstance(kind, inspect.StructType):
        return [field.type for field in kind.fields if field.encode_name == step]
    return [kind.item_type] if isinstance(kind, inspect.CollectionType) and step.startswith("[") else []


def _check_type(content_type: str | None) -> None:
    """JSON only: no other type has a meaning here, and browsers send none of those without asking."""
    kind = (content_type or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMedia(f"the body must be application/json, not {kind[:60]!a}")


def reference_of(request: Request, named: str | None) -> str:
    """The model reference: from the body, `?model=`, the X-Model header, or the setting."""
    reference = named or request.query_params.get("model") or request.headers.get("x-model")
    reference = reference or context_of(request).settings.default_model
    if not reference:
        raise InvalidRequest("model is missing, and there is no default model", param="model", code="model_missing")
    return reference


def seconds_of(request: Request) -> float:
    """How long the client is willing to wait; never longer than the setting."""
    most = context_of(request).settings.request_timeout
    header = request.headers.get("x-request-timeout-ms")
    if header is None:
        return most
    if not MILLISECONDS.fullmatch(header):
        raise InvalidRequest(
            "x-request-timeout-ms must be a whole number of milliseconds, from 1 to 99999999999",
            param="x-request-timeout-ms",
        )
    return min(most, int(header) / 1000)
