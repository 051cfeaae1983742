"""The errors that callers see. `app/api/http/errors.py` renders them in each HTTP dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from app.similarity import most_similar


class OstinatoError(Exception):
    """An error whose message is meant for the caller. The message states the problem, its location and a remedy.

    Attributes:
        code: a stable identifier of the kind of error, for programs.
        param: the field of the request that was wrong, if there is one.
        status: the HTTP status of the reply.
        retry_after: seconds after which a retry may succeed, if known.
        retryable: whether clients should retry; by default, only with status 429, 503 or 504.
    """

    status = 500
    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param
        self.retry_after = retry_after
        self.retryable = (self.status in (429, 503, 504)) if retryable is None else retryable


class InvalidRequest(OstinatoError):
    """The request, a file or an argument is malformed or not allowed."""

    status, code = 400, "invalid_request"


class Unauthorized(OstinatoError):
    """The API key is missing or wrong."""

    status, code = 401, "invalid_api_key"


class Forbidden(OstinatoError):
    """The caller is not allowed to perform the operation."""

    status, code = 403, "forbidden"


class NotFound(OstinatoError):
    """The object does not exist, or does not belong to the caller."""

    status, code = 404, "not_found"


class Conflict(OstinatoError):
    """The object's current state does not allow the request."""

    status, code = 409, "conflict"


class TooLarge(OstinatoError):
    """The request or the file is larger than allowed."""

    status, code = 413, "too_large"


class UnsupportedMedia(OstinatoError):
    """The request's content type is not accepted."""

    status, code = 415, "unsupported_media_type"


class Overloaded(OstinatoError):
    """Too much work is waiting. A later retry may succeed."""

    status, code = 429, "overloaded"


class EngineFailed(OstinatoError):
    """The engine failed, exited or stopped responding while it was handling the request."""

    status, code = 500, "engine_failed"


class Unavailable(OstinatoError):
    """The service, or a component that it depends on, cannot currently handle the request."""

    status, code = 503, "unavailable"


class DeadlineExceeded(OstinatoError):
    """The request was not finished before its deadline."""

    status, code = 504, "deadline_exceeded"


class CheckpointInvalid(InvalidRequest):
    """A checkpoint directory is incomplete, malformed or inconsistent."""

    code = "invalid_checkpoint"


def as_sent(error: OstinatoError, names: Mapping[str, str]) -> OstinatoError:
    """Rewrite an error so that it uses the client's field names, for example `n_predict` instead of `max_tokens`.

    `names` maps this service's field names to those in the request. A field name that is also an ordinary word is
    replaced only in errors about that field.
    """
    for field, name in names.items():
        if error.param and re.match(rf"{re.escape(field)}(?!\w)", error.param):
            error.param = name + error.param.removeprefix(field)
        elif "_" not in field:
            continue
        error.message = re.sub(rf"(?<![\w'\"]){re.escape(field)}(?![\w'\"])", name, error.message)
    return error


def did_you_mean(name: str, names: Iterable[str], otherwise: str = "") -> str:
    """Return a suffix such as "; did you mean 'label'?" for an error message; `otherwise` if no name is similar."""
    match = most_similar(name, names)
    return otherwise if match is None else f"; did you mean {match!r}?"
