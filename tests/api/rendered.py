"""Checks that error replies have the format of the dialect to which their path belongs."""

from __future__ import annotations

from typing import Any

import httpx

from app.api.application import DIALECTS
from app.api.http.dialects import dialect_of
from app.errors import OstinatoError

MESSAGE = "\0message"


def is_rendered(reply: httpx.Response, kind: type[OstinatoError], **details: Any) -> bool:
    """Whether the reply is an error of this type, with any message, in the format of the path's dialect."""
    status, body = dialect_of(reply.request.method, reply.url.path, DIALECTS).render_error(kind(MESSAGE, **details))
    return reply.status_code == status and _matches(reply.json(), body)


def _matches(body: Any, pattern: Any) -> bool:
    if isinstance(pattern, dict):
        same = isinstance(body, dict) and body.keys() == pattern.keys()
        return same and all(_matches(body[key], pattern[key]) for key in pattern)
    if isinstance(pattern, list):
        return isinstance(body, list) and len(body) == len(pattern) and all(map(_matches, body, pattern))
    return bool(body == pattern or (pattern == MESSAGE and isinstance(body, str)))
