"""Converts generated pieces to a complete response or to the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.api.http.sampling_fields import DEFAULTS, value_or
from app.api.http.sse import json_line
from app.api.openai.chat_choices import token_reports
from app.api.openai.chat_schemas import ChatToken
from app.api.openai.responses_schemas import (
    LOGPROBS,
    EventType,
    ResponseError,
    ResponseEvent,
    ResponseMessage,
    ResponseObject,
    ResponseRequest,
    ResponseText,
    ResponseUsage,
    Status,
)
from app.errors import OstinatoError
from app.inference.generation import GenerationRequest, Piece

FINAL: dict[str, EventType] = {"completed": "response.completed", "incomplete": "response.incomplete"}


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The ids of a response and its message, and the request."""

    id: str
    message_id: str
    created: int
    model: str
    body: ResponseRequest

    @property
    def alternatives(self) -> int | None:
        """The number of most likely tokens to report at each position, or None to report no log-probabilities."""
        body = self.body
        return body.top_logprobs or 0 if body.include is not None and LOGPROBS in body.include else None

    def response(self, status: Status, output: list[ResponseMessage], **fields: Any) -> ResponseObject:
        """The response. Fields that are not passed have the values from the request, or their defaults."""
        body = self.body
        return ResponseObject(
            id=self.id,
            created_at=self.created,
            status=status,
            model=self.model,
            output=output,
            instructions=body.instructions,
            max_output_tokens=body.max_output_tokens,
            metadata=body.metadata or {},
            reasoning={"effort": None, "summary": None},
            temperature=value_or(body.temperature, DEFAULTS.temperature),
            text={"format": {"type": "text"}},
            top_logprobs=body.top_logprobs or 0,
            top_p=value_or(body.top_p, DEFAULTS.top_p),
            truncation=body.truncation or "disabled",
            **fields,
        )


class ResponseWriter:
    """Collects the pieces of an answer, and builds the response from them."""

    def __init__(self, head: ResponseHead, generation: GenerationRequest) -> None:
        self._head, self._generation = head, generation
        self._texts: list[str] = []
        self._tokens: list[ChatToken] = []
        self._reason: str | None = None

    def add(self, piece: Piece) -> list[ChatToken]:
        """Add a piece. Returns the log-probabilities of the piece's tokens if they were requested."""
        tokens: list[ChatToken] = []
        if self._head.alternatives is not None:
            assert self._generation.version.tokenizer is not None
            tokens = token_reports(piece.logprobs, self._generation.version.tokenizer, self._head.alternatives)
            self._tokens += tokens
        self._texts.append(piece.text)
        self._reason = piece.finish_reason or self._reason
        return tokens

    @property
    def status(self) -> Literal["completed", "incomplete"]:
        """The status: `completed`, or `incomplete` if the length limit has cut off the answer."""
        return "completed" if self._reason == "stop" else "incomplete"

    def text(self) -> ResponseText:
        return ResponseText("".join(self._texts), logprobs=self._tokens)

    def message(self) -> ResponseMessage:
        return ResponseMessage(self._head.message_id, self.status, [self.text()])

    def response(self) -> ResponseObject:
        """The response that contains all pieces."""
        details = None if self.status == "completed" else {"reason": "max_output_tokens"}
        return self._head.response(
            self.status, [self.message()], incomplete_details=details, usage=usage_of(self._generation)
        )

    def failed(self, error: OstinatoError) -> ResponseObject:
        """Return the response for an error. The response contains the text that was generated before the error."""
        code: Any = "invalid_prompt" if error.status < 500 else "server_error"
        code = "rate_limit_exceeded" if error.status == 429 else code
        output = [self.message()] if any(self._texts) else []
        return self._head.response("failed", output, error=ResponseError(code, error.message, error.code, error.param))


def usage_of(generation: GenerationRequest) -> ResponseUsage:
    """A response's token counts."""
    prompt, answer = generation.prompt_tokens, generation.generated_tokens
    cached = {"cached_tokens": generation.cached_tokens, "cache_write_tokens": 0}
    return ResponseUsage(prompt, answer, prompt + answer, cached, {"reasoning_tokens": 0})


def whole_response(pieces: Sequence[Piece], head: ResponseHead, generation: GenerationRequest) -> ResponseObject:
    writer = ResponseWriter(head, generation)
    for piece in pieces:
        writer.add(piece)
    return writer.response()


class ResponseEvents:
    """Creates the events of a stream.

    Most events contain only text. Such events are assembled from parts that are encoded in advance.
    """

    def __init__(self, head: ResponseHead, generation: GenerationRequest) -> None:
        self._head = head
        self._writer = ResponseWriter(head, generation)
        self._sent = 0
        place = json_line({"type": "response.output_text.delta", "item_id": head.message_id})
        self._start = b"event: response.output_text.delta\ndata: " + place[:-1]
        self._start += b',"output_index":0,"content_index":0,"delta":'

    def opening(self) -> Iterator[bytes]:
        """Return the events that precede the first text."""
        begun = self._head.response("in_progress", [])
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        message = ResponseMessage(self._head.message_id, "in_progress", [])
        yield self._event("response.output_item.added", output_index=0, item=message)
        yield self._part("response.content_part.added", part=ResponseText())

    def frame(self, piece: Piece) -> bytes | None:
        """Return the event for a piece, or None if the piece has no content to send."""
        tokens = self._writer.add(piece)
        if not (piece.text or tokens):
            return None
        number = self._number()
        return b'%b%b,"logprobs":%b,"sequence_number":%d}\n\n' % (
            self._start, json_line(piece.text), json_line(tokens) if tokens else b"[]", number,
        )  # fmt: skip

    def closing(self) -> Iterator[bytes]:
        """Return the events that follow the last text."""
        text = self._writer.text()
        yield self._part("response.output_text.done", text=text.text, logprobs=text.logprobs)
        yield self._part("response.content_part.done", part=text)
        yield self._event("response.output_item.done", output_index=0, item=self._writer.message())
        yield self._event(FINAL[self._writer.status], response=self._writer.response())

    def failed(self, error: OstinatoError) -> bytes:
        """Return the event for an error that ends the stream."""
        return self._event("response.failed", response=self._writer.failed(error))

    def _part(self, kind: EventType, **fields: Any) -> bytes:
        return self._event(kind, item_id=self._head.message_id, output_index=0, content_index=0, **fields)

    def _event(self, kind: EventType, **fields: Any) -> bytes:
        data = json_line(ResponseEvent(kind, self._number(), **fields))
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _number(self) -> int:
        number, self._sent = self._sent, self._sent + 1
        return number
