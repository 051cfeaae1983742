"""Decodes request bodies that are compressed with gzip, deflate or zstd, piece by piece and within the size limit."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from starlette.types import Message, Receive

from app.errors import InvalidRequest, OstinatoError

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

PIECE = 2**18  # maximum number of bytes decoded in one step, because a small body may decode to gigabytes
MEMBERS = 100  # maximum number of gzip members or zstd frames in a body, because empty ones take time too
GZIP = 31  # zlib's `wbits` for the gzip format with the largest window
WINDOW: dict[int, int] = {DecompressionParameter.window_log_max: 23}  # 8 MiB, the maximum for zstd in HTTP (RFC 9659)


class ContentDecoder(Protocol):
    """Decodes one body. `complete` indicates whether the bytes so far form a complete body."""

    def pieces(self, data: bytes) -> Iterator[bytes]: ...
    @property
    def complete(self) -> bool: ...


class GzipDecoder:
    """Decodes gzip data, which may consist of several members."""

    def __init__(self) -> None:
        self._stream, self._left = zlib.decompressobj(GZIP), MEMBERS

    @property
    def complete(self) -> bool:
        return self._stream.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes, in pieces of at most `PIECE` bytes.

        Raises zlib.error if the data is damaged or has more than `MEMBERS` members.
        """
        while data:
            if self._stream.eof:
                self._left -= 1
                if not self._left:
                    raise zlib.error
                self._stream = zlib.decompressobj(GZIP)
            yield self._stream.decompress(data, PIECE)
            data = self._stream.unconsumed_tail or self._stream.unused_data


class DeflateDecoder:
    """Decodes deflate data. In HTTP, deflate data has the zlib format."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    @property
    def complete(self) -> bool:
        return self._stream.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes, in pieces of at most `PIECE` bytes. Raises zlib.error if the data is damaged."""
        while data:
            if self._stream.eof:
                raise zlib.error
            yield self._stream.decompress(data, PIECE)
            data = self._stream.unconsumed_tail or self._stream.unused_data


class ZstdDecoder:
    """Decodes zstd data, which may consist of several frames."""

    def __init__(self) -> None:
        self._stream, self._left = ZstdDecompressor(options=WINDOW), MEMBERS

    @property
    def complete(self) -> bool:
        return self._stream.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes, in pieces of at most `PIECE` bytes.

        Raises ZstdError if the data is damaged or has more than `MEMBERS` frames.
        """
        while data or not (self._stream.eof or self._stream.needs_input):
            if self._stream.eof:
                self._left -= 1
                if not self._left:
                    raise ZstdError
                self._stream = ZstdDecompressor(options=WINDOW)
            yield self._stream.decompress(data, PIECE)
            data = self._stream.unused_data if self._stream.eof else b""


DECODERS: dict[bytes, Callable[[], ContentDecoder]] = {
    b"gzip": GzipDecoder,
    b"x-gzip": GzipDecoder,
    b"deflate": DeflateDecoder,
    b"zstd": ZstdDecoder,
}


class DecodedBody:
    """A `receive` function that decodes the body read by another `receive` function."""

    def __init__(self, receive: Receive, encoding: bytes, limit: int, too_large: Callable[[], OstinatoError]) -> None:
        """`limit` is the maximum number of decoded bytes. If the limit is exceeded, `too_large()` is raised."""
        self._receive, self._encoding, self._left, self._too_large = receive, encoding, limit, too_large
        self._decoder = DECODERS[encoding]()
        self._pieces: Iterator[bytes] = iter(())
        self._empty, self._more, self._ended = True, True, False

    async def __call__(self) -> Message:
        """Return the next piece. Raises InvalidRequest if the data is damaged or incomplete."""
        while not self._ended:
            if piece := self._next():
                self._left -= len(piece)
                if self._left < 0:
                    raise self._too_large()
                await asyncio.sleep(0)  # decoding takes longer than receiving, and must not delay other requests
                return {"type": "http.request", "body": piece, "more_body": True}
            if not self._more:
                return self._end()
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            data, self._more = message.get("body", b""), message.get("more_body", False)
            self._empty = self._empty and not data
            self._pieces = self._decoder.pieces(data)
        return await self._receive()

    def _next(self) -> bytes | None:
        """Return the next non-empty piece, or None if more data is needed."""
        try:
            return next(filter(None, self._pieces), None)
        except (zlib.error, ZstdError):
            raise self._damaged() from None

    def _end(self) -> Message:
        self._ended = True
        if not self._empty and not self._decoder.complete:
            raise self._damaged()
        return {"type": "http.request", "body": b"", "more_body": False}

    def _damaged(self) -> InvalidRequest:
        name = self._encoding.decode()
        return InvalidRequest(f"the request body is incomplete or not valid {name} data", code="invalid_encoding")
