"""Converts generated pieces to the choices of chat completions, for a complete reply or the chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.api.http.sse import frame, json_line
from app.api.openai.chat_schemas import (
    FINGERPRINT,
    ChatAlternative,
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatDelta,
    ChatDeltaChoice,
    ChatLogprobs,
    ChatRequest,
    ChatToken,
)
from app.api.openai.completions_choices import usage_of
from app.api.openai.completions_schemas import CompletionUsage
from app.inference.generation import GenerationRequest, Piece
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire

MIDDLE = b'},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'


@dataclass(frozen=True, slots=True)
class ChatHead:
    """The fields shared by all chunks of a reply, and the request."""

    id: str
    created: int
    model: str
    body: ChatRequest


def token_reports(entries: Sequence[wire.TokenLogprob], tokenizer: Tokenizer, alternatives: int) -> list[ChatToken]:
    """Return the log-probabilities of each token and of the most likely tokens at its position."""
    return [
        ChatToken(
            tokenizer.token_name(entry.id),
            _bytes(entry.id, tokenizer),
            entry.logprob or 0.0,
            [
                ChatAlternative(tokenizer.token_name(id_), _bytes(id_, tokenizer), logprob)
                for id_, logprob in zip(entry.top_ids[:alternatives], entry.top_logprobs, strict=False)
            ],
        )
        for entry in entries
    ]


def _bytes(id_: int, tokenizer: Tokenizer) -> list[int]:
    if tokenizer.token_bytes is None:
        return list(tokenizer.token_text(id_).encode())
    return list(tokenizer.join([id_]))


def answers(pieces: Sequence[Piece], generation: GenerationRequest, body: ChatRequest) -> list[ChatChoice]:
    """Return the choices of a complete reply."""
    collected: list[list[Piece]] = [[] for _ in generation.choices]
    for piece in pieces:
        collected[piece.index].append(piece)
    return [_choice(index, own, generation, body) for index, own in enumerate(collected)]


def _choice(index: int, pieces: list[Piece], generation: GenerationRequest, body: ChatRequest) -> ChatChoice:
    tokenizer, last = generation.version.tokenizer, pieces[-1]
    assert tokenizer is not None
    entries = [entry for piece in pieces for entry in piece.logprobs]
    return ChatChoice(
        index,
        ChatAnswer("".join(piece.text for piece in pieces)),
        ChatLogprobs(token_reports(entries, tokenizer, body.top_logprobs or 0)) if body.logprobs else None,
        last.finish_reason,  # type: ignore[arg-type]
        last.stop_reason,
    )


class ChatFramer:
    """Creates the chunks of a stream.

    Most chunks contain only text. Such chunks are assembled from a head and a tail that are encoded in advance, which
    is much faster than encoding a struct for every token.
    """

    def __init__(self, head: ChatHead, generation: GenerationRequest) -> None:
        assert generation.version.tokenizer is not None
        self._head, self._generation = head, generation
        self._tokenizer = generation.version.tokenizer
        options = head.body.stream_options
        self._usage_at_end = options is not None and options.include_usage
        self._count = options is not None and options.include_usage and options.continuous_usage_stats
        whole = json_line(
            {
                "id": head.id,
                "object": "chat.completion.chunk",
                "created": head.created,
                "model": head.model,
                "system_fingerprint": FINGERPRINT,
                "choices": [],
            }
        )
        start = b"data: " + whole[:-2]  # without the closing brackets of the empty list and the object
        self._starts = [start + b'{"index":%d,"delta":{"content":' % i for i in range(len(generation.choices))]

    def opening(self) -> Iterator[bytes]:
        """Yield one chunk for each answer, with its role."""
        for choice in self._generation.choices:
            yield self._chunk(ChatDeltaChoice(choice.index, ChatDelta("assistant", ""), None, None))

    def frame(self, piece: Piece) -> bytes | None:
        """Return the chunks for a piece, or None if the piece has no content to send."""
        text, events = piece.text, b""
        if self._head.body.logprobs and piece.logprobs:
            reports = token_reports(piece.logprobs, self._tokenizer, self._head.body.top_logprobs or 0)
            events = self._chunk(ChatDeltaChoice(piece.index, ChatDelta(None, text), ChatLogprobs(reports), None))
        elif text and self._count:
            events = self._chunk(ChatDeltaChoice(piece.index, ChatDelta(None, text), None, None))
        elif text:
            events = self._starts[piece.index] + json_line(text) + MIDDLE
        if piece.finish_reason is not None:
            reason: str | None = piece.finish_reason
            last = ChatDeltaChoice(piece.index, ChatDelta(), None, reason, piece.stop_reason)  # type: ignore[arg-type]
            events += self._chunk(last)
        return events or None

    def closing(self) -> Iterator[bytes]:
        """Yield the final chunk, which contains the token counts, if the client requested it."""
        if self._usage_at_end:
            yield self._encoded([], usage_of(self._generation))

    def _chunk(self, choice: ChatDeltaChoice) -> bytes:
        return self._encoded([choice], usage_of(self._generation) if self._count else None)

    def _encoded(self, choices: list[ChatDeltaChoice], usage: CompletionUsage | None) -> bytes:
        return frame(ChatChunk(self._head.id, self._head.created, self._head.model, choices, usage))
