"""Converts generated text to Ollama's objects: one for a complete reply, or one per line of a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from starlette.responses import Response

from app.api.http.pieces import collected, streamed
from app.api.http.replies import JsonReply, answer_headers
from app.api.http.sse import json_line
from app.errors import OstinatoError
from app.inference.generation import GenerationRequest, Piece

NDJSON = "application/x-ndjson"
Make = Callable[..., Any]  # creates the reply object for a text: `make(text, done=…, **counts)`


def now() -> str:
    """Return the current time in Ollama's format."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def counts(generation: GenerationRequest, began: int, reason: str | None) -> dict[str, Any]:
    """The counts and durations at the end of a reply.

    `began` is the start of the request (`time.perf_counter_ns()`).
    """
    timing = generation.timing
    return {
        "done_reason": reason,
        "total_duration": time.perf_counter_ns() - began,
        "load_duration": 0,
        "prompt_eval_count": generation.prompt_tokens,
        "prompt_eval_duration": int(timing.prefill_ms * 1e6),
        "eval_count": generation.generated_tokens,
        "eval_duration": max(0, int((timing.inference_ms - timing.prefill_ms) * 1e6)),
    }


class LineEvents:
    """Creates the lines of a stream."""

    def __init__(self, generation: GenerationRequest, began: int, make: Make) -> None:
        self._generation, self._began, self._make = generation, began, make

    def opening(self) -> Iterator[bytes]:
        """Return no lines, because a stream begins with the first piece of text."""
        return iter(())

    def frame(self, piece: Piece) -> bytes | None:
        """Return the line for a piece of text. The last piece is followed by a line with the counts."""
        text = _line(self._make(piece.text, done=False)) if piece.text else b""
        if piece.finish_reason is None:
            return text or None
        return text + _line(self._make("", done=True, **counts(self._generation, self._began, piece.finish_reason)))

    def closing(self) -> Iterator[bytes]:
        """Return no lines, because `frame` has already added the counts to the last piece."""
        return iter(())


async def answer(request: Request, generation: GenerationRequest, stream: bool, began: int, make: Make) -> Response:
    """Reply with the generated text of a single choice."""
    if stream:
        events = LineEvents(generation, began, make)
        return await streamed(request, generation, events, _error_line, b"", NDJSON, b"")
    pieces = await collected(request, generation)
    text = "".join(piece.text for piece in pieces)
    reply = make(text, done=True, **counts(generation, began, pieces[-1].finish_reason))
    headers = answer_headers(
        generation.version.ref, generation.prompt_tokens, generation.timing, generation.generated_tokens
    )
    return JsonReply(reply, headers)


def loaded(stream: bool, make: Make) -> Response:
    """Reply to a request that contains no text and only loads the version."""
    reply = make("", done=True, done_reason="load")
    return Response(_line(reply), media_type=NDJSON) if stream else JsonReply(reply)


def _line(value: Any) -> bytes:
    return json_line(value) + b"\n"


def _error_line(error: OstinatoError) -> bytes:
    return _line({"error": error.message})
