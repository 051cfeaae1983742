"""Continuous batching: the running sequences of one loaded version. Knows the scheduler, the runner and the sampler.

Knows no socket and no architecture: an LSTM and a Transformer run through the same steps.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from collections.abc import Sequence as Rows

from torch import Tensor

from app import telemetry
from app.engine import sequence as sequences
from app.engine.reply import EXPIRED, NEVER, Counters, Reply, describe, fail, soonest
from app.engine.runner import Runner
from app.engine.sampling import NOT_FINITE, sample
from app.engine.scheduler import Chunk, Scheduler
from app.engine.sequence import Sequence
from app.wire.engine import Finished, Generate, Timing, TokenLogprob, Tokens

logger = logging.getLogger(__name__)


class Decoder:
    """`add`, `abort`, `step`. Each sequence gets Tokens as they come, and exactly one Finished or Failed."""

    def __init__(
        self, runner: Runner, scheduler: Scheduler, vocab_size: int, context_length: int, eos_id: int | None,
        reply: Reply, counters: Counters,
    ) -> None:  # fmt: skip
        self.runner, self.scheduler = runner, scheduler
        self.vocab_size, self.context_length, self.eos_id = vocab_size, context_length, eos_id
        self.reply, self.counters = reply, counters
        self._open: dict[tuple[bytes, str], Sequence] = {}
        self._next_deadline = NEVER

    @property
    def running(self) -> int:
        return len(self.scheduler.running)

    @property
    def waiting(self) -> int:
        return len(self.scheduler.waiting)

    @property
    def busy(self) -> bool:
        return bool(self._open)

    def add(self, peer: bytes, message: Generate) -> None:
        complaint = sequences.complaint(message, self.vocab_size, self.context_length)
        if complaint is None and (peer, message.id) in self._open:
            complaint = sequences.INVALID, "a request with this id is running already"
        if complaint:
            fail(self.reply, self.counters, peer, message.id, *complaint, message.request_id)
            return
        sequence = sequences.admit(message, peer, self.context_length, self.eos_id)
        sequence.arrived = time.monotonic()
        self._open[peer, message.id] = sequence
        self._next_deadline = min(self._next_deadline, soonest([message.deadline]))
        self.scheduler.add(sequence)

    def abort(self, peer: bytes, id: str) -> bool:
        """True if the request was open here; its slot is free from now on."""
        sequence = self._open.get((peer, id))
        if sequence is None:
            return False
        self.counters.add("aborted")
        self._finish(sequence, "abort")
        return True

    def forget(self, unwanted: Callable[[bytes], bool]) -> None:
        """Drop what belongs to peers that nobody can answer any more."""
        for sequence in [s for s in self._open.values() if unwanted(s.peer)]:
            self._remove(sequence)
            self.counters.add("aborted")

    def fail_all(self, code: str, message: str) -> None:
        """End whatever is open, and give every slot back; also those of sequences whose end broke off half-way."""
        sequences, self._open = list(self._open.values()), {}
        self.scheduler.clear()
        for sequence in sequences:
            sequence.ended = True
            fail(self.reply, self.counters, sequence.peer, sequence.id, code, message, sequence.request_id)

    def step(self) -> None:
        """One token for each decoding sequence, then some prompt for those that still read."""
        if time.time() >= self._next_deadline:
            self._expire()
        admitted = self.scheduler.admit()
        if admitted:
            self.runner.reset([s.slot for s in admitted])
            now = time.monotonic()
            for sequence in admitted:
                sequence.admitted = now
        self.counters.add("steps")
        decoded = self._decode()
        for chunk in (chunks := self.scheduler.chunks()):
            self._read(chunk)
        self.counters.observe("iteration_tokens", decoded + sum(sum(chunk.lengths) for chunk in chunks))
        # Only now: when a sequence leaves, another moves into its slot, and the chunks name slots.
        for sequence in [s for chunk in chunks for s in chunk.sequences if s.ended]:
            self._leave(sequence)

    # --- the two kinds of call ----------------------------------------------------------------------------------

    def _decode(self) -> int:
        """How many tokens it was."""
        rows = self.scheduler.decoding()
        running = [s for s in rows if s is not None]
        if not running:
            return 0
        try:
            logits_BV = self.runner.decode([[s.output[-1]] if s else [] for s in rows], self.scheduler.alone)
            if len(running) < len(rows):
                logits_BV = logits_BV[[i for i, s in enumerate(rows) if s is not None]]
            self._advance(running, logits_BV)
        except Exception as error:
            self._broken(running, error)
        for sequence in running:
            if sequence.ended:
                self._leave(sequence)
        return len(running)

    def _read(self, chunk: Chunk) -> None:
        parts = [s.prompt[s.computed : s.computed + n] for s, n in zip(chunk.sequences, chunk.lengths, strict=True)]
        try:
            hidden_BTD = self.runner.read(chunk.start, parts)
            ends = []
            for row, (sequence, part) in enumerate(zip(chunk.sequences, parts, strict=True)):
                if sequence.params.prompt_logprobs is not None:
                    self._report_prompt(sequence, hidden_BTD[row], len(part))
                sequence.computed += len(part)
                if not sequence.remaining:
                    ends.append((row, len(part) - 1))
            self.counters.add("prompt_tokens", sum(chunk.lengths))
            self.counters.add("prefill_padded_tokens", chunk.cost)
            if ends:
                self._begin([chunk.sequences[row] for row, _ in ends], self.runner.logits_after(hidden_BTD, ends))
        except Exception as error:
            self._broken(chunk.sequences, error)

    def _report_prompt(self, sequence: Sequence, hidden_TD: Tensor, length: int) -> None:
        start, count = sequence.computed, sequence.params.prompt_logprobs or 0
        if start == 0:
            sequence.prompt_logprobs.append(TokenLogprob(sequence.prompt[0], None))
        following = sequence.prompt[start + 1 : start + length + 1]
        sequence.prompt_logprobs += self.runner.logprobs(hidden_TD, following, count)

    # --- tokens and ends ----------------------------------------------------------------------------------------

    def _begin(self, rows: Rows[Sequence], logits_BV: Tensor) -> None:
        """The first token of sequences whose prompt has just been read (none where none is wanted)."""
        for sequence in rows:
            if sequence.limit == 0:
                if sequence.prompt_logprobs:
                    self.reply(sequence.peer, Tokens(sequence.id, [], [], sequence.prompt_logprobs))
                self._end(sequence, "length")
        wanted = [i for i, s in enumerate(rows) if not s.ended]
        if wanted:
            self._advance([rows[i] for i in wanted], logits_BV if len(wanted) == len(rows) else logits_BV[wanted])

    def _advance(self, rows: Rows[Sequence], logits_BV: Tensor) -> None:
        sampled, now = sample(logits_BV, rows), time.monotonic()
        for sequence, token, logprob in zip(rows, sampled.ids, sampled.logprobs, strict=True):
            if token == NOT_FINITE:
                self._give_up(sequence, "not_finite", "the network's output is not a number for this request")
                continue
            first = not sequence.began
            sequence.began = sequence.began or now
            reason = sequence.append(token)
            ids = [] if reason == "stop" else [token]
            if ids or sequence.prompt_logprobs:
                report, timing = [logprob] if logprob and ids else [], _timing(sequence) if first else None
                self.reply(sequence.peer, Tokens(sequence.id, ids, report, sequence.prompt_logprobs, timing))
                sequence.prompt_logprobs = []
            if reason:
                stopped = reason == "stop"
                self._end(
                    sequence, reason, token if stopped else None, logprob.logprob if logprob and stopped else None
                )
        self.counters.add("generation_tokens", len(rows))

    def _end(
        self, sequence: Sequence, reason: str, stop_id: int | None = None, stop_logprob: float | None = None
    ) -> None:
        """Say the final word. The slot is given back by `_leave`, when no call is under way."""
        sequence.ended = True
        del self._open[sequence.peer, sequence.id]
        self.counters.add(f"finished_{reason}")
        timing = _timing(sequence)
        with telemetry.about(sequence.request_id):
            logger.info("%s after %d tokens in %.1f ms", reason, len(sequence.output), timing.inference_ms)
        self.reply(sequence.peer, Finished(sequence.id, reason, timing, stop_id, 0, stop_logprob))

    def _give_up(self, sequence: Sequence, code: str, message: str) -> None:
        sequence.ended = True
        del self._open[sequence.peer, sequence.id]
        fail(self.reply, self.counters, sequence.peer, sequence.id, code, message, sequence.request_id)

    def _leave(self, sequence: Sequence) -> None:
        move = self.scheduler.remove(sequence)
        if move is None:
            return
        try:
            self.runner.copy(*move)
        except Exception as error:  # whoever was to be moved has a stranger's state now, and the rest may be no better
            logger.exception("a slot could not be moved")
            self.fail_all(*describe(error))

    def _finish(self, sequence: Sequence, reason: str) -> None:
        self._end(sequence, reason)
        self._leave(sequence)

    def _fail(self, sequence: Sequence, code: str, message: str) -> None:
        self._give_up(sequence, code, message)
        self._leave(sequence)

    def _remove(self, sequence: Sequence) -> None:
        sequence.ended = True
        del self._open[sequence.peer, sequence.id]
        self._leave(sequence)

    def _broken(self, rows: Rows[Sequence], error: Exception) -> None:
        """A call failed. What it left in the state is unknown, so every sequence in it ends; the others go on."""
        logger.error("a generation step failed: %s: %s", type(error).__name__, error, exc_info=error)
        for sequence in rows:
            if not sequence.ended:
                self._give_up(sequence, *describe(error))

    def _expire(self) -> None:
        now = time.time()
        for sequence in [s for s in self._open.values() if s.deadline is not None and s.deadline <= now]:
            self._fail(sequence, "deadline_exceeded", EXPIRED)
        self._next_deadline = soonest(s.deadline for s in self._open.values())


def _timing(sequence: Sequence) -> Timing:
    now = time.monotonic()
    admitted = sequence.admitted or now
    began = sequence.began or now
    return Timing(1000 * (admitted - sequence.arrived), 1000 * (now - admitted), 1000 * (began - admitted))
