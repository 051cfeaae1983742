"""One error type for the whole product. Knows no HTTP dialect: `app/api/http/errors.py` renders it in each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OstinatoError(Exception):
    """Something a caller should hear: what was wrong, where, and what would be right.

    `code` is stable and machine-readable; `param` names the field; `status` is the HTTP status that fits;
    `retry_after` (seconds) says that trying again later can help; `retryable` False tells clients not to try again.
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
    status, code = 400, "invalid_request"


class Unauthorized(OstinatoError):
    status, code = 401, "invalid_api_key"


class Forbidden(OstinatoError):
    status, code = 403, "forbidden"


class NotFound(OstinatoError):
    status, code = 404, "not_found"


class Conflict(OstinatoError):
    status, code = 409, "conflict"


class TooLarge(OstinatoError):
    status, code = 413, "too_large"


class UnsupportedMedia(OstinatoError):
    status, code = 415, "unsupported_media_type"


class Overloaded(OstinatoError):
    status, code = 429, "overloaded"


class EngineFailed(OstinatoError):
    status, code = 500, "engine_failed"


class Unavailable(OstinatoError):
    status, code = 503, "unavailable"


class DeadlineExceeded(OstinatoError):
    status, code = 504, "deadline_exceeded"


class CheckpointInvalid(InvalidRequest):
    """A checkpoint directory that does not hold what it must."""

    code = "invalid_checkpoint"


def did_you_mean(name: str, names: Iterable[str], otherwise: str = "", *, cutoff: float = 0.5) -> str:
    """The end of a message about an unknown name: "; did you mean 'label'?" with the most similar of `names`.

    Where none is similar, `otherwise` takes its place.
    """
    near = most_similar(name, names, cutoff=cutoff)
    return otherwise if near is None else f"; did you mean {near!r}?"


def most_similar(name: str, names: Iterable[str], *, cutoff: float) -> str | None:
    """The most similar of `names`, from a similarity of `cutoff` (0 to 1) on; None where there is none."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return near[0] if near else None
