"""The caller of a model route: the principal, the model reference, and the time limit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from fastapi import Request

from app.api.http.auth import principal_of
from app.api.http.services import services_of
from app.errors import InvalidRequest
from app.settings import Settings

LATEST = ":latest"  # Ollama's clients add this tag to a name without a tag
MILLISECONDS = re.compile("[1-9][0-9]{0,10}")


@dataclass(frozen=True, slots=True)
class Caller:
    """A model request's principal (the name of the API key), model reference and time limit."""

    principal: str
    reference: str
    seconds: float

    @classmethod
    def read(cls, request: Request, model: str | None) -> Self:
        """Read a request's caller. `model` is the model named in the body, or None. Raises InvalidRequest if there is
        no model reference, or if the time limit is malformed."""
        settings = services_of(request).settings
        return cls(principal_of(request), _reference(request, model, settings), time_limit(request))


def _reference(request: Request, model: str | None, settings: Settings) -> str:
    """The model reference in the body or else in `?model=`, the header X-Model or the setting `default_model`."""
    reference = model or request.query_params.get("model") or request.headers.get("x-model") or settings.default_model
    if not reference:
        raise InvalidRequest("model is missing, and there is no default model", param="model", code="model_missing")
    return reference


def time_limit(request: Request) -> float:
    """The client's time limit in seconds, capped at the `request_timeout` setting, which is also the default.

    Raises InvalidRequest if the header `x-request-timeout-ms` is malformed.
    """
    settings = services_of(request).settings
    header = request.headers.get("x-request-timeout-ms")
    if header is None:
        return settings.request_timeout
    if not MILLISECONDS.fullmatch(header):
        raise InvalidRequest(
            "x-request-timeout-ms must be a whole number of milliseconds, from 1 to 99999999999",
            param="x-request-timeout-ms",
        )
    return min(settings.request_timeout, int(header) / 1000)
