"""Limits the size of request bodies, and rejects bodies with a content encoding."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.types import Message, Receive, Scope

from app.api.http.errors import IN_PARTS
from app.api.http.headers import index_of
from app.errors import InvalidRequest, TooLarge, UnsupportedMedia

MULTIPART_SLACK = 2**20  # bytes allowed for the fields and boundaries around a file
BODY_HEADERS = frozenset((b"content-type", b"content-length", b"content-encoding"))
MULTIPART = re.compile(rb"\s*multipart/form-data\s*(;|$)", re.IGNORECASE)


class BodyLimits:
    """Rejects bodies with a content encoding, and bodies whose Content-Length or actual size is too large."""

    def __init__(self, max_body: int, max_upload: int) -> None:
        self.max_body, self.max_upload = max_body, max_upload

    def check(self, scope: Scope, receive: Receive) -> Receive:
        """Check the headers of a request, and return the `receive` function that reads its body.

        Raises InvalidRequest, UnsupportedMedia or TooLarge if the headers show that the body cannot be accepted. The
        returned function raises TooLarge when the bytes received exceed the limit.
        """
        headers = index_of(scope)
        if len(headers) != len(scope["headers"]):
            _check_single(scope)
        if headers.get(b"content-encoding", b"").lower() not in (b"identity", b""):
            raise UnsupportedMedia("content-encoding is not supported; send the request body uncompressed")
        limit, hint = self._limit(scope["path"], headers)
        length = headers.get(b"content-length")
        if length is None or b"transfer-encoding" in headers:
            return _limited(receive, limit, hint)
        if not length.isdigit():
            raise InvalidRequest("content-length is not a number")
        if int(length) > limit:
            raise _too_large(limit, hint)
        return receive  # the server reads no more than Content-Length

    def _limit(self, path: str, headers: Mapping[bytes, bytes]) -> tuple[int, str]:
        """Return the maximum size of the body in bytes, and a hint for the error message."""
        if MULTIPART.match(headers.get(b"content-type", b"")):
            return self.max_upload + MULTIPART_SLACK, f"; {IN_PARTS}" if path == "/v1/files" else ""
        return self.max_body, ""


def _check_single(scope: Scope) -> None:
    """Raise InvalidRequest if a header of the body is sent twice, because the route might use the other value."""
    names: set[bytes] = set()
    for name, _ in scope["headers"]:
        if name in BODY_HEADERS and name in names:
            raise InvalidRequest(f"{name.decode()} is sent twice; send it once")
        names.add(name)


def _limited(receive: Receive, limit: int, hint: str) -> Receive:
    """Wrap `receive` to raise TooLarge after more than `limit` bytes, for bodies without a Content-Length."""
    left = limit

    async def receive_limited() -> Message:
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                raise _too_large(limit, hint)
        return message

    return receive_limited


def _too_large(limit: int, hint: str) -> TooLarge:
    return TooLarge(f"the request body is larger than {limit} bytes, the limit of this route{hint}")
