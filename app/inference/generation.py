"""A generation request in progress. Converts the engine's tokens to pieces of text for each choice."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec

from app.inference.admission import Ticket
from app.inference.engines import failures
from app.inference.engines.client import EngineClient
from app.inference.engines.inbox import EngineAnswer
from app.inference.engines.work import Work
from app.inference.measures import GenerationMeasures
from app.inference.versions import ResolvedVersion
from app.tokenization.stream import TextStream
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire

OVERDUE = -1  # the inbox tag with which the timer reports that the deadline has passed


@dataclass(frozen=True, slots=True)
class Piece:
    """New text and tokens of one choice. The last piece of a choice has a `finish_reason` (`stop` or `length`).

    `stop_reason` is the stop string or the stop token id that ended the choice. `stop_reason` is None if the choice
    ended at an end-of-text token or reached its maximum length.
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
    """A request's stop strings. If `include` is true, a choice's text includes the stop string that ended it."""

    strings: tuple[str, ...] = ()
    include: bool = False


class Choice:
    """One continuation of one prompt, and its progress so far."""

    def __init__(self, index: int, request: wire.Generate, tokenizer: Tokenizer, stops: Stops, lead: str = "") -> None:
        self.index, self.request = index, request
        self.tokens = 0
        self.cached_tokens = 0
        self.timing: wire.Timing | None = None
        self.finish_reason: str | None = None
        self.stop_logprob: float | None = None  # the log-probability of the token that ended the choice, if requested
        self._began = 0.0
        self._stream = TextStream(tokenizer, stops.strings, stops.include, request.params.min_tokens, lead)
        self._include_stop = stops.include

    def take(self, message: wire.Tokens) -> Piece:
        """Return the piece for newly generated tokens, which is the last piece if the tokens complete a stop string."""
        if message.timing is not None:
            self.timing, self._began = message.timing, time.monotonic()
            self.cached_tokens = message.cached_tokens
        delta = self._stream.push(message.ids)
        self.tokens += len(message.ids)
        if delta.finished_by_stop is not None:
            self.finish_reason = "stop"
            # This choice is about to be aborted, so the engine will not send its final timing.
            if self.timing is not None:
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
        """Return the choice's last piece.

        Raises EngineFailed if the engine aborted the choice without being asked to.
        """
        if message.reason not in ("stop", "length"):
            raise failures.failure("aborted", "the engine aborted this request")
        self.timing, self.cached_tokens = message.timing, message.cached_tokens
        self.finish_reason = message.reason
        stop_id = message.stop_id if message.stop_id in self.request.params.stop_token_ids else None
        if message.stop_id is not None:
            self.tokens += 1  # the stop token was generated, although it is not part of the text
        self.stop_logprob = message.stop_logprob
        text = self._stream.push([stop_id]).text if stop_id is not None and self._include_stop else ""
        text += self._stream.flush()
        return Piece(self.index, text, finish_reason=message.reason, stop_reason=stop_id)


@dataclass(slots=True)
class GenerationRequest:
    """A generation that the engine has started and that can no longer be rejected.

    Iterate over `pieces` once, to the end, or call `close`. `until` is the deadline, as a monotonic time.
    """

    version: ResolvedVersion
    prompts: list[list[int]]
    choices: list[Choice]
    client: EngineClient
    work: Work
    ticket: Ticket
    resources: AsyncExitStack
    measures: GenerationMeasures
    until: float

    @property
    def prompt_tokens(self) -> int:
        return sum(map(len, self.prompts))

    @property
    def generated_tokens(self) -> int:
        return sum(choice.tokens for choice in self.choices)

    @property
    def cached_tokens(self) -> int:
        """The number of prompt tokens that all choices of a prompt read from the cache, summed over the prompts."""
        cached, n = [choice.cached_tokens for choice in self.choices], len(self.choices) // len(self.prompts)
        return sum(min(cached[start : start + n]) for start in range(0, len(cached), n))

    @property
    def timing(self) -> wire.Timing:
        """The maximum of each duration over all choices."""
        timings = [choice.timing for choice in self.choices if choice.timing] or [wire.Timing()]
        return wire.Timing(
            max(t.queue_ms for t in timings), max(t.inference_ms for t in timings), max(t.prefill_ms for t in timings)
        )

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Yield the pieces of all choices as they arrive. Raises DeadlineExceeded, or the engine's error."""
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

    def _piece(self, tag: int, answer: EngineAnswer) -> Piece | None:
        if isinstance(answer, wire.Failed):
            raise failures.of(answer)
        choice = self.choices[tag]
        if choice.finish_reason is not None or isinstance(answer, wire.Scored | wire.PackedScored):
            return None  # the engine sent this answer before it received the abort that followed a stop string
        before = choice.tokens
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
        self.ticket.generated(choice.tokens - before)
        if piece.finish_reason is not None:
            self.measures.finished(piece.finish_reason, choice.timing)
        return piece

    async def close(self) -> None:
        """Abort the choices that are still open and release all resources. May be called more than once."""
        await self.resources.aclose()
