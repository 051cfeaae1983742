"""Generates text with continuous batching for one loaded version. Sequences join and leave the batch between steps.

The steps are the same for every architecture. Only the form of the state depends on the architecture.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from torch import Tensor

from app import telemetry
from app.engine import sequence as sequences
from app.engine.reply import Counters, Reply, count_rows, describe
from app.engine.requests import Member, OpenRequests
from app.engine.reuse import PrefixReuse
from app.engine.runner import Adapters, Runner
from app.engine.sampling import NOT_FINITE, sample
from app.engine.scheduler import Chunk, Scheduler
from app.engine.sequence import Sequence
from app.wire.engine import Finished, Generate, Timing, TokenLogprob, Tokens

logger = logging.getLogger(__name__)


class Decoder:
    """Sends Tokens messages for each sequence as its tokens are generated, and then exactly one Finished or Failed.

    `members` are the versions that share the decoder, by digest. It is empty if the decoder belongs to one version.

    A sequence leaves in two steps. First, the sequence is closed: its final message is sent, possibly during a call of
    the network. Then `_leave` frees the sequence's slot. A slot is freed only between calls: the last sequence moves
    into the slot, and a call identifies its rows by their slots.
    """

    def __init__(
        self, runner: Runner, scheduler: Scheduler, vocab_size: int, context_length: int, eos_id: int | None,
        reply: Reply, counters: Counters, reuse: PrefixReuse | None = None,
    ) -> None:  # fmt: skip
        self.runner, self.scheduler, self.reuse = runner, scheduler, reuse
        self.vocab_size, self.context_length = vocab_size, context_length
        self.reply, self.counters = reply, counters
        self.members: dict[str, Member] = {}
        self._own = Member("", counters, eos_id)
        self.open: OpenRequests[Sequence] = OpenRequests(reply)

    @property
    def running(self) -> int:
        """The number of sequences that have a slot."""
        return len(self.scheduler.running)

    @property
    def waiting(self) -> int:
        """The number of sequences that are waiting for a slot."""
        return self.scheduler.queued

    @property
    def busy(self) -> bool:
        """Whether any request is open."""
        return len(self.open) > 0

    # --- requests -----------------------------------------------------------------------------------------------

    def add(self, peer: bytes, message: Generate) -> None:
        """Queue a request. Reply with Failed immediately if the request cannot run."""
        member = self.members.get(message.digest, self._own)
        problem = sequences.problem(message, self.vocab_size, self.context_length)
        if self.open.refuse(peer, message, problem, member):
            return
        sequence = sequences.admit(message, peer, self.context_length, member)
        sequence.arrived = time.monotonic()
        self.open.add(sequence)
        self.scheduler.add(sequence)

    def abort(self, peer: bytes, id: str) -> bool:
        """Close a request with Finished, and free its slot immediately. Return whether the request was open."""
        sequence = self.open.get(peer, id)
        if sequence is None:
            return False
        sequence.member.counters.add("aborted")
        self._end(sequence, "abort")
        self._leave(sequence)
        return True

    def forget(self, gone: Callable[[bytes], bool]) -> None:
        """Drop the requests of disconnected peers."""
        for sequence in self.open.forget(gone):
            self._leave(sequence)

    def fail_all(self, code: str, message: str) -> None:
        """Fail every open request. Free all slots, including those of closed sequences that could not be removed."""
        self.scheduler.clear()
        self.open.fail_all(code, message)

    # --- a step -------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Decode one token per sequence whose prompt has been read, then read a limited number of prompt tokens."""
        for sequence in self.open.expire():
            self._leave(sequence)
        self._admit()
        self.counters.add("steps")
        decoded = self._decode()
        for chunk in (chunks := self.scheduler.chunks()):
            self._read(chunk)
        self.counters.observe("iteration_tokens", decoded + sum(sum(chunk.lengths) for chunk in chunks))
        # Remove closed sequences only after all chunks are read: when a sequence leaves, another sequence moves into
        # its slot, and chunks refer to slots.
        for sequence in [s for chunk in chunks for s in chunk.sequences if s.closed]:
            self._leave(sequence)

    def _admit(self) -> None:
        """Assign free slots to waiting sequences, and set each slot to the initial state or a cached prefix's state."""
        admitted = self.scheduler.admit()
        if not admitted:
            return
        self.runner.reset([s.slot for s in admitted])
        now = time.monotonic()
        for sequence in admitted:
            sequence.admitted = now
            if self.reuse is not None:
                self.reuse.begin(sequence)

    def _decode(self) -> int:
        """Run the decode call and return the number of sequences in it."""
        rows = self.scheduler.decoding()
        running = [s for s in rows if s is not None]
        if not running:
            return 0
        running[0].member.counters.add("decode_calls")  # a call for several versions is counted once
        count_rows("decode_rows", [(s.member.counters, 1) for s in running])
        try:
            ids = [[s.output[-1]] if s else [] for s in rows]
            logits_BV = self.runner.decode(ids, self.scheduler.alone, self._adapters(rows))
            if len(running) < len(rows):
                logits_BV = logits_BV[[i for i, s in enumerate(rows) if s is not None]]
            self._advance(running, logits_BV)
        except Exception as error:
            self._fail_call(running, error)
        for sequence in running:
            if sequence.closed:
                self._leave(sequence)
        return len(running)

    def _read(self, chunk: Chunk) -> None:
        """Run one prefill call, and sample the first token of each sequence whose prompt has now been read."""
        pieces = [s.prompt[s.computed : s.computed + n] for s, n in zip(chunk.sequences, chunk.lengths, strict=True)]
        try:
            hidden_BTD = self.runner.read(chunk.start, pieces, self._adapters(chunk.sequences))
            ends = []
            for row, (sequence, piece) in enumerate(zip(chunk.sequences, pieces, strict=True)):
                if sequence.params.prompt_logprobs is not None:
                    self._add_prompt_logprobs(sequence, hidden_BTD[row], len(piece))
                sequence.computed += len(piece)
                if self.reuse is not None:
                    self.reuse.read(sequence)
                if not sequence.remaining:
                    ends.append((row, len(piece) - 1))
            counters, longest = [s.member.counters for s in chunk.sequences], max(chunk.lengths)
            count_rows("prompt_tokens", zip(counters, chunk.lengths, strict=True))
            count_rows("prefill_padded_tokens", ((each, longest) for each in counters))
            if ends:
                self._begin([chunk.sequences[row] for row, _ in ends], self.runner.logits_after(hidden_BTD, ends))
        except Exception as error:
            self._fail_call(chunk.sequences, error)

    def _adapters(self, rows: Iterable[Sequence | None]) -> Adapters:
        return [s.member.loaded.adapter if s else None for s in rows] if self.members else ()

    def _add_prompt_logprobs(self, sequence: Sequence, hidden_TD: Tensor, length: int) -> None:
        start, count = sequence.computed, sequence.params.prompt_logprobs or 0
        if start == 0:
            sequence.prompt_logprobs.append(TokenLogprob(sequence.prompt[0], None))
        following = sequence.prompt[start + 1 : start + length + 1]
        sequence.prompt_logprobs += self.runner.logprobs(hidden_TD, following, count)

    # --- tokens and ends ----------------------------------------------------------------------------------------

    def _begin(self, rows: list[Sequence], logits_BV: Tensor) -> None:
        """Sample the first token of each sequence. A sequence with a limit of 0 tokens ends immediately."""
        for sequence in rows:
            if sequence.limit == 0:
                if sequence.prompt_logprobs:
                    self.reply(sequence.peer, Tokens(sequence.id, [], [], sequence.prompt_logprobs))
                self._end(sequence, "length")
        going_on = [i for i, s in enumerate(rows) if not s.closed]
        if going_on:
            self._advance([rows[i] for i in going_on], logits_BV if len(going_on) == len(rows) else logits_BV[going_on])

    def _advance(self, rows: list[Sequence], logits_BV: Tensor) -> None:
        """Sample the next token for each row and send the tokens to the peers."""
        sampled, now = sample(logits_BV, rows), time.monotonic()
        for sequence, token, logprob in zip(rows, sampled.ids, sampled.logprobs, strict=True):
            if token == NOT_FINITE:
                text = "the network's output for this request is not finite (NaN or infinity)"
                self.open.fail(sequence, "not_finite", text)
                continue
            first = not sequence.began
            sequence.began = sequence.began or now
            reason = sequence.append(token)
            ids = [] if reason == "stop" else [token]
            if ids or sequence.prompt_logprobs:
                report, timing = [logprob] if logprob and ids else [], _timing(sequence) if first else None
                cached = sequence.cached if first else 0
                self.reply(sequence.peer, Tokens(sequence.id, ids, report, sequence.prompt_logprobs, timing, cached))
                sequence.prompt_logprobs = []
            if reason == "stop":
                self._end(sequence, reason, token, logprob.logprob if logprob else None)
            elif reason:
                self._end(sequence, reason)
        count_rows("generation_tokens", [(s.member.counters, 1) for s in rows])

    def _end(
        self, sequence: Sequence, reason: str, stop_id: int | None = None, stop_logprob: float | None = None
    ) -> None:
        """Close a sequence with Finished. `_leave` frees its slot once no call is in progress."""
        self.open.close(sequence)
        sequence.member.counters.add(f"finished_{reason}")
        timing = _timing(sequence)
        with telemetry.about(sequence.request_id):
            logger.info("%s after %d tokens in %.1f ms", reason, len(sequence.output), timing.inference_ms)
        self.reply(sequence.peer, Finished(sequence.id, reason, timing, stop_id, sequence.cached, stop_logprob))
        if self.reuse is not None:
            self.reuse.end(sequence)

    def _leave(self, sequence: Sequence) -> None:
        """Remove a closed sequence from the schedule, and copy the state of the last sequence into the freed slot."""
        move = self.scheduler.remove(sequence)
        if move is None:
            return
        try:
            self.runner.copy(*move)
        except Exception as error:
            # The moved sequence now has the state of another sequence, and the rest of the state may be broken as well.
            logger.exception("the state of a slot could not be copied")
            self.fail_all(*describe(error))

    def _fail_call(self, rows: Iterable[Sequence], error: Exception) -> None:
        """Fail the sequences in a failed call, because their state is undefined. All other sequences continue."""
        logger.error("a generation step failed: %s: %s", type(error).__name__, error, exc_info=error)
        for sequence in rows:
            if not sequence.closed:
                self.open.fail(sequence, *describe(error))


def _timing(sequence: Sequence) -> Timing:
    now = time.monotonic()
    admitted = sequence.admitted or now
    began = sequence.began or now
    return Timing(1000 * (admitted - sequence.arrived), 1000 * (now - admitted), 1000 * (began - admitted))
