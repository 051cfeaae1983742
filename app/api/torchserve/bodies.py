"""Bodies of prediction requests: raw text, JSON, or the form field `data`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import msgspec
from fastapi import Request

from app.api.http.bodies import JsonBody
from app.api.http.forms import Form, read_form
from app.api.http.sampling_fields import NewTokens, Seed, Share, Temperature
from app.api.http.services import services_of
from app.errors import InvalidRequest, TooLarge, UnsupportedMedia
from app.inference.items import Pair

Inputs = str | Pair | list[Any]
FORM, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"


class PredictionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A prediction's inputs as JSON: `data`, or `instances` for several inputs.

    `data` is a text, a {text, text_pair} object, or a list of these; for a version that reads numbers, it is an array
    with the axes batch, time and feature. The reply to `instances` is an object with `predictions`. The other fields
    are for versions that generate text. With a `temperature` of 0, the most likely token is always chosen. Without
    `max_new_tokens`, the text may fill the model's context.
    """

    data: Inputs | None = None
    instances: list[Any] | None = None
    max_new_tokens: NewTokens | None = None
    temperature: Temperature | None = None
    top_k: int | None = None
    top_p: Share | None = None
    seed: Seed | None = None

    @property
    def value(self) -> Any:
        """The inputs. Raises InvalidRequest unless exactly one of `data` and `instances` is sent."""
        if (self.data is None) == (self.instances is None):
            raise InvalidRequest("send the inputs either as data or as instances", param="data")
        return self.data if self.instances is None else [_unwrapped(entry) for entry in self.instances]

    @property
    def field(self) -> str:
        """The name of the field that contains the inputs, for use in error messages."""
        return "data" if self.instances is None else "instances"


_body = JsonBody(PredictionRequest)


def _unwrapped(entry: Any) -> Any:
    """An instance without its wrapper object `{"data": …}`."""
    if not isinstance(entry, dict):
        return entry
    if set(entry) <= {"text", "text_pair"} and "text" in entry:
        return _converted(entry)
    if list(entry) != ["data"]:
        raise InvalidRequest('an instance must be an input, or an object {"data": input}', param="instances")
    return entry["data"]


def _converted(entry: dict[str, Any]) -> Pair:
    try:
        return msgspec.convert(entry, Pair)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"instances: {error}", param="instances") from None


async def read_body(request: Request) -> PredictionRequest:
    """Read a prediction request's body. Raises InvalidRequest, TooLarge or UnsupportedMedia."""
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind == FORM:
        return PredictionRequest(data=await _from_form(request))
    payload = await request.body()
    if kind == "application/json" or kind.endswith("+json"):
        return _from_json(payload)
    if kind == URLENCODED:
        return PredictionRequest(data=_from_fields(payload))
    if kind in ("", "application/octet-stream") or kind.startswith("text/"):
        return PredictionRequest(data=_text(payload))
    raise UnsupportedMedia(f"send the input as text, JSON or the form field data, not as {kind[:60]!a}")


def _from_json(payload: bytes) -> PredictionRequest:
    if payload.lstrip()[:1] not in (b'"', b"["):
        return _body.decode(payload)
    try:
        return PredictionRequest(data=msgspec.json.decode(payload, type=str | list[Any]))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}", code="invalid_json") from None


async def _from_form(request: Request) -> str:
    async with asynccontextmanager(read_form)(request) as form:
        return _sent_text(form, services_of(request).settings.max_body_bytes)


def _sent_text(form: Form, most: int) -> str:
    """Return the text in the form field `data`, whose value may be a file."""
    if "data" not in form.files:
        if "data" not in form.fields:
            raise InvalidRequest("data is missing: send the input in the form field 'data'", param="data")
        return form.fields["data"]
    content = form.files["data"].file.read(most + 1)
    if len(content) > most:
        raise TooLarge(f"data is larger than this route's limit of {most} bytes", param="data")
    return _text(content)


def _from_fields(payload: bytes) -> str:
    values = parse_qs(_text(payload), keep_blank_values=True, max_num_fields=64).get("data", [])
    if len(values) != 1:
        raise InvalidRequest(
            "send the input once, in the form field 'data'; for raw text, send Content-Type: text/plain", param="data"
        )
    return values[0]


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the input is not UTF-8 text: byte {error.start} is invalid", param="data") from None
