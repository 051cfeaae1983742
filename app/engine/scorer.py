"""Computes scores or vectors for whole sequences, batching the waiting rows of one loaded version.

A request may contain several sequences. The request receives a single answer, which contains the results in the order
of the sequences.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from app import telemetry
from app.engine.batcher import Batcher
from app.engine.reply import Counters, Reply, count_rows, describe
from app.engine.requests import INVALID, TOO_LONG, Member, OpenRequests
from app.engine.turn_batcher import TurnBatcher
from app.wire.engine import Embed, FeatureSequence, Finished, Score, Scored, Timing
from app.wording import quantity
from models.config import ModelConfig
from models.interruption import ComputationStopped

logger = logging.getLogger(__name__)

ScoringRow = list[int] | FeatureSequence  # token ids, or numeric steps
# The limits of a batch of background rows. A request that arrives while such a batch runs waits until it ends.
BACKGROUND_ROWS, BACKGROUND_TOKENS = 8, 1024
ScoreFunction = Callable[[Sequence[ScoringRow]], Tensor]  # rows of one batch -> scores_BC


@dataclass(slots=True, eq=False)
class ScoringRequest:
    """A request in progress. `results` is filled row by row; `remaining` is the number of rows without a result."""

    peer: bytes
    id: str
    deadline: float | None
    arrived: float
    results: list[list[float]]
    remaining: int
    request_id: str  # the id of the HTTP request, for the log
    member: Member
    started: float = 0.0  # the monotonic time at which the first row entered a batch; 0 before then
    closed: bool = False

    @property
    def running(self) -> bool:
        """Whether a row has entered a batch."""
        return self.started > 0


@dataclass(frozen=True, slots=True, eq=False)
class ScoringItem:
    """One row of a request."""

    request: ScoringRequest
    index: int
    row: ScoringRow = field(repr=False)


RowQueue = Batcher[ScoringItem] | TurnBatcher[ScoringItem]


class Scorer:
    """Answers each request with exactly one Scored or Failed, or Finished if the request is aborted.

    `members` are the versions that share the scorer, by digest. It is empty if the scorer belongs to one version.
    `step` runs one batch. The host instead calls the three phases of a step: `take`, `attempt` (in any thread) and
    `finish`.
    """

    def __init__(
        self, network: ScoreFunction | None, config: ModelConfig, batcher: RowQueue, reply: Reply, counters: Counters
    ) -> None:
        self.network, self.config, self.batcher = network, config, batcher
        # The rows of background requests, which are computed only while no other row is waiting.
        most = min(batcher.max_tokens, BACKGROUND_TOKENS), min(batcher.max_rows, BACKGROUND_ROWS)
        self._background: RowQueue = Batcher(*most)
        self.reply, self.counters = reply, counters
        self.members: dict[str, Member] = {}
        self._own = Member("", counters)
        self.open: OpenRequests[ScoringRequest] = OpenRequests(reply)
        self.computing = 0  # the number of batches in other threads, some of which may have no open request
        self._stale = False  # whether the batcher may contain rows of closed requests

    @property
    def running(self) -> int:
        """The number of open requests with a row that has entered a batch. Safe to read from another thread."""
        return sum(request.running for request in self.open.values())

    @property
    def waiting(self) -> int:
        """The number of open requests without a row that has entered a batch."""
        return len(self.open) - self.running

    @property
    def busy(self) -> bool:
        """Whether any request is open."""
        return len(self.open) > 0

    @property
    def queued(self) -> bool:
        """Whether a row is waiting for a batch."""
        self._discard_stale()
        return len(self.batcher) + len(self._background) > 0

    # --- requests -----------------------------------------------------------------------------------------------

    def add(self, peer: bytes, message: Score | Embed) -> None:
        """Queue the rows of a request as separate items, which may run in different batches.

        Replies with Failed immediately if the request cannot run.
        """
        rows: Sequence[ScoringRow] = message.features or message.sequences
        member = self.members.get(message.digest, self._own)
        if self.open.refuse(peer, message, _problem(rows, self.config), member):
            return
        request = ScoringRequest(
            peer, message.id, message.deadline, time.monotonic(), [[]] * len(rows), len(rows), message.request_id,
            member,
        )  # fmt: skip
        self.open.add(request)
        batcher = self._background if message.background else self.batcher
        for index, row in enumerate(rows):
            batcher.add(steps_of(row), ScoringItem(request, index, row))

    def abort(self, peer: bytes, id: str) -> bool:
        """Close a request with Finished. Return whether the request was open."""
        request = self.open.get(peer, id)
        if request is None:
            return False
        self.open.close(request)
        self._stale = True
        request.member.counters.add("aborted")
        request.member.counters.add("finished_abort")
        self.reply(peer, Finished(id, "abort", _timing(request)))
        return True

    def forget(self, gone: Callable[[bytes], bool]) -> None:
        """Drop the requests of disconnected peers."""
        self.open.forget(gone)
        self._stale = True

    def fail_all(self, code: str, message: str) -> None:
        """Fail every open request. The rows are removed from the batcher before the next batch."""
        self._stale = True
        self.open.fail_all(code, message)

    def _discard_stale(self) -> None:
        """Drop the rows of closed requests from the batcher.

        This scans every waiting row, so the rows of all requests closed since the last call are dropped in one pass:
        when a peer disconnects or a deadline passes, thousands of requests can close at the same time.
        """
        if self._stale:
            for batcher in (self.batcher, self._background):
                batcher.discard(lambda item: item.request.closed)
            self._stale = False

    # --- batches ------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Run one batch. Return False if no row is waiting."""
        batch = self.take()
        if batch:
            self.finish(batch, self.attempt(batch))
        return bool(batch)

    def take(self) -> list[ScoringItem]:
        """Remove and return the next batch, shortest rows first. The batch is empty if no row is waiting."""
        if self.open.expire():
            self._stale = True
        self._discard_stale()
        batch, now = self.batcher.next_batch() or self._background.next_batch(), time.monotonic()
        for item in batch:
            item.request.started = item.request.started or now
        return batch

    def attempt(self, batch: Sequence[ScoringItem]) -> list[list[float]] | Exception:
        """Return each row's scores, or the exception that occurred.

        Does not change any state, and can be called from any thread.
        """
        try:
            return self._compute(batch)
        except Exception as error:
            return error

    def _compute(self, batch: Sequence[ScoringItem]) -> list[list[float]]:
        assert self.network is not None
        scores: list[list[float]] = self.network([item.row for item in batch]).tolist()
        return scores

    def attempt_open(self, batch: Sequence[ScoringItem]) -> list[list[float]] | Exception:
        """Like `attempt`, but returns empty scores, without computing, if all requests of the batch are closed."""
        return [[] for _ in batch] if all(item.request.closed for item in batch) else self.attempt(batch)

    def finish(self, batch: Sequence[ScoringItem], outcome: list[list[float]] | Exception) -> None:
        """Store the outcome of `attempt`, and answer the requests that are then complete."""
        if isinstance(outcome, Exception):
            self._isolate(batch, outcome)
            return
        self._count(batch)
        for item, result in zip(batch, outcome, strict=True):
            self._accept(item, result)

    def _isolate(self, batch: Sequence[ScoringItem], error: Exception) -> None:
        """Run each row of a failed batch separately, so that only requests with faulty rows fail."""
        if len(batch) > 1:
            for item in batch:
                if not item.request.closed:
                    self.finish([item], self.attempt([item]))
            return
        request = batch[0].request
        if isinstance(error, ComputationStopped):  # because the request has been closed
            return
        with telemetry.about(request.request_id):
            logger.error("a scoring batch failed: %s: %s", type(error).__name__, error, exc_info=error)
        if not request.closed:
            self._fail(request, *describe(error))

    def _accept(self, item: ScoringItem, result: list[float]) -> None:
        request = item.request
        if request.closed:  # aborted, expired or failed while the batch ran
            return
        if not all(map(math.isfinite, result)):
            self._fail(request, "not_finite", "the network's output for this request is not finite (NaN or infinity)")
            return
        request.results[item.index] = result
        request.remaining -= 1
        if not request.remaining:
            self._complete(request)

    def _complete(self, request: ScoringRequest) -> None:
        self.open.close(request)
        request.member.counters.add("classified")
        timing = _timing(request)
        if logger.isEnabledFor(logging.DEBUG):  # too many requests per second to log each one at a higher level
            with telemetry.about(request.request_id):
                logger.debug("%d sequences in %.1f ms", len(request.results), timing.inference_ms)
        self.reply(request.peer, Scored(request.id, request.results, timing))

    def _fail(self, request: ScoringRequest, code: str, message: str) -> None:
        self._stale = True
        self.open.fail(request, code, message)

    def _count(self, batch: Sequence[ScoringItem]) -> None:
        lengths, counters = [steps_of(item.row) for item in batch], [item.request.member.counters for item in batch]
        longest = max(lengths)
        counters[0].add("batches")  # a batch of several versions is counted once, for the version of its first row
        counters[0].observe("iteration_tokens", sum(lengths))
        count_rows("batch_sequences", ((each, 1) for each in counters))
        count_rows("padded_tokens", ((each, longest) for each in counters))
        count_rows("batch_tokens", zip(counters, lengths, strict=True))
        count_rows("prompt_tokens", zip(counters, lengths, strict=True))


def steps_of(row: ScoringRow) -> int:
    """The number of steps in a row: token ids or numeric steps."""
    return len(row) if isinstance(row, list) else row.steps


def _timing(request: ScoringRequest) -> Timing:
    now = time.monotonic()
    started = request.started or now
    return Timing(1000 * (started - request.arrived), 1000 * (now - started))


def _problem(rows: Sequence[ScoringRow], config: ModelConfig) -> tuple[str, str] | None:
    """Return the code and message that explain why a request cannot run, or None if it can."""
    if not rows:
        return INVALID, "the request has no sequence; at least one is required"
    for number, row in enumerate(rows):
        length = steps_of(row)
        if isinstance(row, list) != (config.input == "tokens"):
            return INVALID, f"this version reads {config.input}"
        if length < 1:
            return INVALID, f"sequence {number} is empty; it must have at least one step"
        if length > config.context_length:
            return TOO_LONG, f"sequence {number} has {length} steps; this version takes at most {config.context_length}"
        if text := _content_problem(row, config):
            return INVALID, f"sequence {number} {text}"
    return None


def _content_problem(row: ScoringRow, config: ModelConfig) -> str | None:
    if isinstance(row, list):
        inside = min(row) >= 0 and max(row) < config.vocab_size
        return None if inside else f"contains a token id outside the range 0 to {config.vocab_size - 1}"
    size = {"f4": 4, "f8": 8}.get(row.dtype, 0)
    fits = row.features == config.features and size > 0 and len(row.data) == size * row.steps * row.features
    return None if fits else f"must have {quantity(config.features, 'value')} per step, as f4 or f8"
