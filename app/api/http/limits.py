"""Limits the size of request bodies, and decodes compressed bodies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

from starlette.types import Message, Receive, Scope

from app.api.http.encodings import DECODERS, DecodedBody
from app.api.http.errors import IN_PARTS
from app.api.http.headers import INDEX, index_of
from app.errors import InvalidRequest, OstinatoError, TooLarge, UnsupportedMedia

MULTIPART_SLACK = 2**20  # bytes allowed for the fields and boundaries around a file
ENCODED_HEADERS = frozenset((b"content-length", b"content-encoding"))
BODY_HEADERS = frozenset((b"content-type", b"content-length", b"content-encoding"))
MULTIPART = re.compile(rb"\s*multipart/form-data\s*(;|$)", re.IGNORECASE)


class BodyLimits:
    """Rejects bodies that are too large (Content-Length, received or decoded bytes) or have an unsupported encoding."""

    def __init__(self, max_body: int, max_upload: int) -> None:
        self.max_body, self.max_upload = max_body, max_upload

    def check(self, scope: Scope, receive: Receive) -> Receive:
        """Check the headers of a request, and return the `receive` function that reads its body.

        Raises InvalidRequest, UnsupportedMedia or TooLarge if the headers show that the body cannot be accepted. The
        returned function decodes a compressed body, and raises TooLarge when the received or decoded bytes exceed the
        limit.
        """
        headers = index_of(scope)
        if len(headers) != len(scope["headers"]):
            _check_single(scope)
        limit, hint = self._limit(scope["path"], headers)
        encoding = headers.get(b"content-encoding", b"").strip().lower()
        if encoding not in (b"identity", b""):
            receive = self._sized(headers, receive, limit, hint)
            return _decoded(scope, receive, encoding, partial(_too_large, limit, hint), limit)
        return self._sized(headers, receive, limit, hint)

    def _sized(self, headers: Mapping[bytes, bytes], receive: Receive, limit: int, hint: str) -> Receive:
        """Check the Content-Length header or, if there is none, return a `receive` function that counts the bytes."""
        length = headers.get(b"content-length")
        if length is None or b"transfer-encoding" in headers:
            return _limited(receive, limit, hint)
        if not length.isdigit():
            raise InvalidRequest("content-length is not a number")
        if int(length) > limit:
            raise _too_large(limit, hint)
        return receive  # the server reads no more than Content-Length

    def _limit(self, path: str, headers: Mapping[bytes, bytes]) -> tuple[int, str]:
        """Return the maximum body size in bytes, and a hint for the error message."""
        if MULTIPART.match(headers.get(b"content-type", b"")):
            return self.max_upload + MULTIPART_SLACK, f"; {IN_PARTS}" if path == "/v1/files" else ""
        return self.max_body, ""


def _decoded(
    scope: Scope, receive: Receive, encoding: bytes, too_large: Callable[[], OstinatoError], limit: int
) -> Receive:
    """Return a `receive` function that decodes the body. Raises UnsupportedMedia if the encoding is not supported.

    Removes the headers that describe the encoded body from the scope.
    """
    if encoding not in DECODERS:
        raise UnsupportedMedia(
            f"the content encoding {encoding.decode('latin-1')[:60]!a} is not supported; send the request body "
            "compressed with gzip, deflate or zstd, or uncompressed"
        )
    del scope[INDEX]
    scope["headers"] = [header for header in scope["headers"] if header[0] not in ENCODED_HEADERS]
    return DecodedBody(receive, encoding, limit, too_large)


def _check_single(scope: Scope) -> None:
    """Raise InvalidRequest if a header about the body is sent twice, because the checks and the route might read
    different values."""
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
    return TooLarge(f"the request body is larger than this route's limit of {limit} bytes{hint}")
