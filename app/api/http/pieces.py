"""Reads a generation's pieces, either all at once or as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Protocol

from fastapi import Request

from app.api.http.presence import attended
from app.api.http.replies import answer_headers
from app.api.http.sse import DONE, PING, EventStream, error_frame
from app.errors import OstinatoError
from app.inference.generation import GenerationRequest, Piece


class PieceEvents(Protocol):
    """Converts a generation's pieces to events."""

    def opening(self) -> Iterator[bytes]:
        """The events before the first piece."""
        ...

    def frame(self, piece: Piece) -> bytes | None:
        """The events for a piece, or None if the piece has no content to send."""
        ...

    def closing(self) -> Iterator[bytes]:
        """The events after the last piece."""
        ...


async def collected(request: Request, generation: GenerationRequest) -> list[Piece]:
    """Return all pieces. Raises ClientGone if the client disconnects before the last piece arrives."""
    return await attended(request, _collect(generation))


async def _collect(generation: GenerationRequest) -> list[Piece]:
    async with aclosing(generation.pieces()) as pieces:
        return [piece async for piece in pieces]


async def streamed(
    request: Request,
    generation: GenerationRequest,
    events: PieceEvents,
    render_error: Callable[[OstinatoError], bytes] = error_frame,
    end: bytes = DONE,
    media_type: str = "text/event-stream",
    ping: bytes = PING,
) -> EventStream:
    """Return a reply that streams the pieces as events. `EventStream` explains the other parameters."""
    # The headers are sent only after the first piece has arrived, so that an earlier error of the engine is sent as a
    # plain error reply.
    pieces = generation.pieces()
    first = await attended(request, anext(pieces))
    headers = answer_headers(generation.version.ref, generation.prompt_tokens, generation.timing, ended=False)
    frames = _frames(first, pieces, events)
    return EventStream(frames, headers, generation.until, render_error, end, generation.close, media_type, ping)


async def _frames(
    first: Piece, pieces: AsyncGenerator[Piece, None], events: PieceEvents
) -> AsyncGenerator[bytes, None]:
    try:
        for event in events.opening():
            yield event
        if frame := events.frame(first):
            yield frame
        async for piece in pieces:
            if frame := events.frame(piece):
                yield frame
    finally:
        await pieces.aclose()
    for event in events.closing():
        yield event
