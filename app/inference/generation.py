"""One generation request on its way: prompts in, pieces of text out, for every choice.

Knows text streams, stop strings and how a choice ends; knows no socket and no HTTP.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec

from app.inference.admission import Ticket
from app.inference.engines import failures
from app.inference.engines.client import EngineClient, Work
from app.inference.engines.inbox import Answer
from app.inference.measures import GenerationMeasures
from app.inference.versions import ResolvedVersion
from app.tokenization.stream import TextStream
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire

OVERDUE = -1  # the tag of the deadline's message


@dataclass(frozen=True, slots=True)
class Piece:
    """What one choice has to say since its last piece; `finish_reason` (stop | length) comes with the last.

    `stop_reason` is the stop string or the stop token id that ended it; None at an end-of-text token.
    """

    index: int
    text: str
    ids: Sequence[int] = ()
    logprobs: Sequence[wire.TokenLogprob] = ()
    prompt_logprobs: Sequence[wire.TokenLogprob] = ()
    finish_reason: str | None = None
    stop_reason: str | int | None = None


@dataclass(frozen=True, slots=True)
class Stops:
    """What ends a text beside its length."""

    strings: tuple[str, ...] = ()
    include: bool = False


class Choice:
    """One continuation of one prompt."""

    def __init__(self, index: int, request: wire.Generate, tokenizer: Tokenizer, stops: Stops) -> None:
        self.index, self.request = index, request
        self.tokens = 0
        self.cached_tokens = 0
        self.timing: wire.Timing | None = None
        self.finish_reason: str | None = None
        self.stop_logprob: float | None = None  # of the token that ended it, where it is known
        self._began = 0.0
        self._stream = TextStream(tokenizer, stops.strings, stops.include, request.params.min_tokens)
        self._include_stop = stops.include

    def take(self, message: wire.Tokens) -> Piece:
        if message.timing is not None:
            self.timing, self._began = message.timing, time.monotonic()
        delta = self._stream.push(message.ids)
        self.tokens += len(message.ids)
        if delta.finished_by_stop is not None:
            self.finish_reason = "stop"
            if self.timing is not None:  # the engine learns of this end from us
                spent = 1000 * (time.monotonic() - self._began)
                self.timing = msgspec.structs.replace(self.timing, inference_ms=self.timing.prefill_ms + spent)
        return Piece(
            self.index,
            delta.text,
            message.ids,
            message.logprobs,
            message.prompt_logprobs,
            self.finish_reason,
            delta.finished_by_stop,
        )

    def finish(self, message: wire.Finished) -> Piece:
        """Raises EngineFailed where nobody asked for the abort."""
        if message.reason not in ("stop", "length"):
            raise failures.failure("aborted", "the engine gave this request up")
        self.timing, self.cached_tokens = message.timing, message.cached_tokens
        self.finish_reason = message.reason
        named = message.stop_id if message.stop_id in self.request.params.stop_token_ids else None
        if message.stop_id is not None:
            self.tokens += 1  # it was generated, though it is not shown
        self.stop_logprob = message.stop_logprob
        shown = self._stream.push([named]).text if named is not None and self._include_stop else ""
        return Piece(self.index, shown + self._stream.flush(), finish_reason=message.reason, stop_reason=named)


@dataclass(slots=True)
class GenerationRequest:
    """Ready to be read: everything that could refuse it before the engine has agreed.

    Use `pieces` once, to its end or to `close`.
    """

    served: ResolvedVersion
    prompts: list[list[int]]
    choices: list[Choice]
    client: EngineClient
    work: Work
    ticket: Ticket
    resources: AsyncExitStack
    measures: GenerationMeasures
    until: float  # its deadline (monotonic)

    @property
    def prompt_tokens(self) -> int:
        return sum(map(len, self.prompts))

    @property
    def generated_tokens(self) -> int:
        return sum(choice.tokens for choice in self.choices)

    @property
    def cached_tokens(self) -> int:
        return sum(choice.cached_tokens for choice in self.choices)

    @property
    def timing(self) -> wire.Timing:
        """The longest wait and the longest work among the choices."""
        known = [choice.timing for choice in self.choices if choice.timing]
        return wire.Timing(
            max((t.queue_ms for t in known), default=0.0), max((t.inference_ms for t in known), default=0.0)
        )

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Raises what the engine failed with, or DeadlineExceeded."""
        open_choices = len(self.choices)
        try:
            while open_choices:
                piece = self._piece(*await self.work.inbox.get())
                if piece is None:
                    continue
                if piece.finish_reason is not None:
                    open_choices -= 1
                yield piece
        finally:
            await self.close()

    def _piece(self, tag: int, answer: Answer) -> Piece | None:
        if isinstance(answer, wire.Failed):
            raise failures.of(answer)
        choice = self.choices[tag]
        if choice.finish_reason is not None or isinstance(answer, wire.Scored):
            return None  # it was on its way when the stop string was met
        if isinstance(answer, wire.Finished):
            piece = choice.finish(answer)
        else:
            if choice.tokens == 0:
                self.ticket.started()
            if answer.ids:
                self.measures.tokens(tag, len(answer.ids))
            piece = choice.take(answer)
            if piece.finish_reason is not None:
                self.client.abort_one(self.work, tag)
        if piece.finish_reason is not None:
            self.measures.finished(piece.finish_reason, choice.timing)
        return piece

    async def close(self) -> None:
        """Abort what is still open and give every place back. May be called again."""
        await self.resources.aclose()
