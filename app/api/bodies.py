"""Reading a request: its JSON body into a struct, and what headers and query say.

Knows msgspec and its complaints; knows no route. What a body may hold is said by its struct alone.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

import msgspec
from fastapi import Request

from app.api.context import context_of
from app.api.errors import nearest
from app.errors import InvalidRequest, UnsupportedMedia

T = TypeVar("T", bound=msgspec.Struct)
UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")
MILLISECONDS = re.compile("[1-9][0-9]{0,10}")
MISSING = re.compile(r"Object missing required field `(.*?)`")


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
            hint = "" if place else nearest(name, self.kind.__struct_encode_fields__)
            return InvalidRequest(f"unknown field {prefix + name!a}{hint}", code="unknown_field", param=prefix + name)
        if found := MISSING.match(what):
            return InvalidRequest(f"{prefix}{found.group(1)} is missing", param=prefix + found.group(1))
        return InvalidRequest(f"{place or 'the body'}: {what[:1].lower()}{what[1:]}", param=place or None)


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
