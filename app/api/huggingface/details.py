"""Generated text in TGI's format: the details in a complete reply, and the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from app.api.http.sse import frame
from app.api.huggingface.parameters import GenerationParameters
from app.inference.generation import Choice, GenerationRequest, Piece
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire

REASONS = {"length": "length", "stop": "eos_token"}


class PromptToken(msgspec.Struct, frozen=True):
    """A token of the input. The first token has no log-probability."""

    id: int
    text: str
    logprob: float | None


class GeneratedToken(msgspec.Struct, frozen=True):
    """A generated token. In a stream, `text` is the text that the token completes."""

    id: int
    text: str
    logprob: float
    special: bool


class GenerationDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Details about the generation of a text."""

    finish_reason: str
    generated_tokens: int
    seed: int | None
    prefill: list[PromptToken]
    tokens: list[GeneratedToken]
    top_tokens: list[list[GeneratedToken]] | UnsetType = UNSET
    best_of_sequences: list[SequenceDetails] | UnsetType = UNSET


class SequenceDetails(GenerationDetails, frozen=True, kw_only=True):
    """One of the less likely texts generated with `best_of`."""

    generated_text: str


class GenerationReply(msgspec.Struct, frozen=True):
    """A generated text, with details if they were requested."""

    generated_text: str
    details: GenerationDetails | UnsetType = UNSET


class StreamDetails(msgspec.Struct, frozen=True):
    """Details about a streamed text, which the last event of the stream contains."""

    finish_reason: str
    generated_tokens: int
    input_length: int
    seed: int | None


class StreamEvent(msgspec.Struct, frozen=True):
    """An event of a stream, with one token. The last event also contains the whole text and its details."""

    index: int
    token: GeneratedToken
    generated_text: str | None
    details: StreamDetails | None
    top_tokens: list[GeneratedToken] | UnsetType = UNSET


def finish_reason(piece: Piece) -> str:
    """TGI's name for the finish reason of a choice, given the choice's last piece."""
    if isinstance(piece.stop_reason, str):
        return "stop_sequence"
    return REASONS[piece.finish_reason or "stop"]


def token_of(entry: wire.TokenLogprob, tokenizer: Tokenizer) -> GeneratedToken:
    return GeneratedToken(entry.id, tokenizer.token_text(entry.id), entry.logprob or 0.0, False)


def top_tokens(entry: wire.TokenLogprob, tokenizer: Tokenizer) -> list[GeneratedToken]:
    """The most likely tokens at the position of one generated token."""
    pairs = zip(entry.top_ids, entry.top_logprobs, strict=True)
    return [GeneratedToken(id_, tokenizer.token_text(id_), logprob, False) for id_, logprob in pairs]


def whole_reply(pieces: Sequence[Piece], generation: GenerationRequest, parameters: GenerationParameters) -> Any:
    """The complete reply to a request with one prompt, containing the most likely text."""
    own: list[list[Piece]] = [[] for _ in generation.choices]
    for piece in pieces:
        own[piece.index].append(piece)
    order = sorted(range(len(own)), key=lambda i: _likelihood(own[i], generation.choices[i]), reverse=True)
    [tokenizer, prompt] = [generation.version.tokenizer, generation.prompts[0]]
    assert tokenizer is not None
    lead = tokenizer.decode(prompt) if parameters.return_full_text else ""
    texts = [lead + "".join(piece.text for piece in own[i]) for i in order]
    if not parameters.details:
        return GenerationReply(texts[0])
    sequences = [_details(own[i], generation.choices[i], tokenizer, parameters) for i in order]
    others = [SequenceDetails(**d, generated_text=t) for d, t in zip(sequences[1:], texts[1:], strict=True)]
    return GenerationReply(texts[0], GenerationDetails(**sequences[0], best_of_sequences=others or UNSET))


def _likelihood(pieces: list[Piece], choice: Choice) -> float:
    """The mean log-probability of a text's tokens, including the token that ended it."""
    values = [entry.logprob or 0.0 for piece in pieces for entry in piece.logprobs]
    values += [] if choice.stop_logprob is None else [choice.stop_logprob]
    return sum(values) / max(1, len(values))


def _details(
    pieces: list[Piece], choice: Choice, tokenizer: Tokenizer, parameters: GenerationParameters
) -> dict[str, Any]:
    entries = [entry for piece in pieces for entry in piece.logprobs]
    before = [entry for piece in pieces for entry in piece.prompt_logprobs]
    return {
        "finish_reason": finish_reason(pieces[-1]),
        "generated_tokens": choice.tokens,
        "seed": choice.request.params.seed,
        "prefill": [PromptToken(e.id, tokenizer.token_text(e.id), e.logprob) for e in before],
        "tokens": [token_of(entry, tokenizer) for entry in entries],
        "top_tokens": [top_tokens(e, tokenizer) for e in entries] if parameters.top_n_tokens else UNSET,
    }


class TokenEvents:
    """Creates the events of a stream.

    Each event is sent when the next token arrives, because only the last event contains the whole text. The
    concatenated texts of the tokens equal the text of a complete reply. An incomplete character, or the beginning of a
    stop string, belongs to the token that completes it.
    """

    def __init__(self, generation: GenerationRequest, parameters: GenerationParameters) -> None:
        assert generation.version.tokenizer is not None
        self._generation, self._tokenizer = generation, generation.version.tokenizer
        self._several = bool(parameters.top_n_tokens)
        self._text = self._tokenizer.decode(generation.prompts[0]) if parameters.return_full_text else ""
        self._newest: tuple[wire.TokenLogprob, str] | None = None  # the newest token, not yet sent, and its text
        self._index = 0

    def opening(self) -> Iterator[bytes]:
        """Return no events, because a stream begins with its first token."""
        return iter(())

    def frame(self, piece: Piece) -> bytes | None:
        """Return the events that can be sent now, or None if there are none."""
        events = b""
        for number, entry in enumerate(piece.logprobs, start=1):
            events += self._release()
            self._newest = entry, piece.text if number == len(piece.logprobs) else ""
        if piece.text and not piece.logprobs:  # the end of the text, which belongs to the newest token
            entry, text = self._newest or (self._end_token(), "")
            self._newest = entry, text + piece.text
        self._text += piece.text
        return (events + self._finish(piece) if piece.finish_reason is not None else events) or None

    def closing(self) -> Iterator[bytes]:
        """Return no events, because the last token ends the stream."""
        return iter(())

    def _release(self) -> bytes:
        """Return the event of the token that has not been sent yet, or no bytes if there is none."""
        if self._newest is None:
            return b""
        (entry, text), self._newest = self._newest, None
        return self._event(GeneratedToken(entry.id, text, entry.logprob or 0.0, False), entry)

    def _finish(self, piece: Piece) -> bytes:
        reason, choice = finish_reason(piece), self._generation.choices[0]
        details = StreamDetails(reason, choice.tokens, self._generation.prompt_tokens, choice.request.params.seed)
        if reason == "eos_token" or self._newest is None:
            events, entry = self._release(), self._end_token()
            token = GeneratedToken(entry.id, "", entry.logprob or 0.0, True)
            return events + self._event(token, entry, details)
        entry, text = self._newest
        return self._event(GeneratedToken(entry.id, text, entry.logprob or 0.0, False), entry, details)

    def _end_token(self) -> wire.TokenLogprob:
        return wire.TokenLogprob(self._tokenizer.eos_id or 0, self._generation.choices[0].stop_logprob)

    def _event(self, token: GeneratedToken, entry: wire.TokenLogprob, details: StreamDetails | None = None) -> bytes:
        self._index += 1
        top = top_tokens(entry, self._tokenizer) if self._several else UNSET
        return frame(StreamEvent(self._index, token, None if details is None else self._text, details, top))
