"""Scores and vectors for whole sequences: the waiting texts of one loaded version. Knows the batcher and the network.

Knows no socket. One message may hold several sequences; it is answered once, with its results in order.
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
from app.engine.reply import EXPIRED, NEVER, Counters, Reply, describe, fail, soonest
from app.engine.sequence import INVALID, TOO_LONG
from app.wire.engine import Embed, FeatureSequence, Finished, Score, Scored, Timing
from models.config import ModelConfig

logger = logging.getLogger(__name__)

Row = list[int] | FeatureSequence
Network = Callable[[Sequence[Row]], Tensor]  # rows of one batch -> scores_BC


@dataclass(slots=True, eq=False)
class ScoringRequest:
    peer: bytes
    id: str
    deadline: float | None
    arrived: float
    results: list[list[float]]
    remaining: int
    request_id: str  # for the log
    started: float = 0.0
    closed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ScoringItem:
    """One sequence of a request."""

    request: ScoringRequest
    index: int
    row: Row = field(repr=False)


class Scorer:
    """`add`, `abort`, `step`; or `take`, `attempt`, `finish`, where another thread does the middle.

    Each request gets exactly one Scored or Failed (Finished if aborted).
    """

    def __init__(
        self, network: Network, config: ModelConfig, batcher: Batcher[ScoringItem], reply: Reply, counters: Counters
    ) -> None:
        self.network, self.config, self.batcher = network, config, batcher
        self.reply, self.counters = reply, counters
        self.last_turn = 0  # set by the host, which serves the versions in turn
        self._open: dict[tuple[bytes, str], ScoringRequest] = {}
        self._next_deadline = NEVER

    @property
    def running(self) -> int:
        """Requests of which something has been in a batch. Safe to call from another thread, like `waiting`."""
        return sum(request.started > 0 for request in list(self._open.values()))

    @property
    def waiting(self) -> int:
        return len(self._open) - self.running

    @property
    def busy(self) -> bool:
        return bool(self._open)

    def add(self, peer: bytes, message: Score | Embed) -> None:
        rows: Sequence[Row] = message.features or message.sequences
        complaint = _complaint(rows, self.config)
        if complaint is None and (peer, message.id) in self._open:
            complaint = INVALID, "a request with this id is running already"
        if complaint:
            fail(self.reply, self.counters, peer, message.id, *complaint, message.request_id)
            return
        request = ScoringRequest(
            peer, message.id, message.deadline, time.monotonic(), [[]] * len(rows), len(rows), message.request_id
        )
        self._open[peer, message.id] = request
        self._next_deadline = min(self._next_deadline, soonest([message.deadline]))
        for index, row in enumerate(rows):
            self.batcher.add(steps_of(row), ScoringItem(request, index, row))

    def abort(self, peer: bytes, id: str) -> bool:
        request = self._open.get((peer, id))
        if request is None:
            return False
        self._close(request)
        self.counters.add("aborted")
        self.counters.add("finished_abort")
        self.reply(peer, Finished(id, "abort", _timing(request)))
        return True

    def forget(self, unwanted: Callable[[bytes], bool]) -> None:
        """Drop what belongs to peers that nobody can answer any more."""
        for request in [r for r in self._open.values() if unwanted(r.peer)]:
            self._close(request)
            self.counters.add("aborted")

    def fail_all(self, code: str, message: str) -> None:
        for request in list(self._open.values()):
            self._fail(request, code, message)

    @property
    def queued(self) -> bool:
        """Whether something waits for a batch."""
        return len(self.batcher) > 0

    def step(self) -> bool:
        """Run one batch; False where nothing waits."""
        batch = self.take()
        if batch:
            self.finish(batch, self.attempt(batch))
        return bool(batch)

    def take(self) -> list[ScoringItem]:
        """The next batch, shortest rows first, which whoever takes it must `finish`; empty where nothing waits."""
        if time.time() >= self._next_deadline:
            self._expire()
        batch, now = self.batcher.next_batch(), time.monotonic()
        for item in batch:
            item.request.started = item.request.started or now
        return batch

    def attempt(self, batch: Sequence[ScoringItem]) -> list[list[float]] | Exception:
        """The scores of each row, or what went wrong. Changes nothing: for any thread."""
        try:
            scores: list[list[float]] = self.network([item.row for item in batch]).float().tolist()
            return scores
        except Exception as error:
            return error

    def finish(self, batch: Sequence[ScoringItem], outcome: list[list[float]] | Exception) -> None:
        if isinstance(outcome, Exception):
            self._isolate(batch, outcome)
            return
        self._count(batch)
        for item, result in zip(batch, outcome, strict=True):
            self._score(item, result)

    def _isolate(self, batch: Sequence[ScoringItem], error: Exception) -> None:
        """One of these broke the call: run each by itself, so that only the culprit's request fails."""
        if len(batch) > 1:
            for item in batch:
                if not item.request.closed:
                    self.finish([item], self.attempt([item]))
            return
        with telemetry.about(batch[0].request.request_id):
            logger.error("a classification failed: %s: %s", type(error).__name__, error, exc_info=error)
        if not batch[0].request.closed:
            self._fail(batch[0].request, *describe(error))

    def _score(self, item: ScoringItem, result: list[float]) -> None:
        request = item.request
        if request.closed:
            return
        if not all(map(math.isfinite, result)):
            self._fail(request, "not_finite", "the network's output is not a number for this request")
            return
        request.results[item.index] = result
        request.remaining -= 1
        if not request.remaining:
            request.closed = True
            del self._open[request.peer, request.id]
            self.counters.add("classified")
            timing = _timing(request)
            if logger.isEnabledFor(logging.DEBUG):  # thousands a second: no line of each by default
                with telemetry.about(request.request_id):
                    logger.debug("%d sequences in %.1f ms", len(request.results), timing.inference_ms)
            self.reply(request.peer, Scored(request.id, request.results, timing))

    def _count(self, batch: Sequence[ScoringItem]) -> None:
        lengths = [steps_of(item.row) for item in batch]
        self.counters.add("batches")
        self.counters.add("batch_sequences", len(batch))
        self.counters.add("batch_tokens", sum(lengths))
        self.counters.add("prompt_tokens", sum(lengths))
        self.counters.observe("iteration_tokens", sum(lengths))
        self.counters.add("padded_tokens", len(batch) * max(lengths))

    def _close(self, request: ScoringRequest) -> None:
        request.closed = True
        del self._open[request.peer, request.id]
        self.batcher.discard(lambda item: item.request is request)

    def _fail(self, request: ScoringRequest, code: str, message: str) -> None:
        self._close(request)
        fail(self.reply, self.counters, request.peer, request.id, code, message, request.request_id)

    def _expire(self) -> None:
        now = time.time()
        for request in [r for r in self._open.values() if r.deadline is not None and r.deadline <= now]:
            self._fail(request, "deadline_exceeded", EXPIRED)
        self._next_deadline = soonest(r.deadline for r in self._open.values())


def steps_of(row: Row) -> int:
    return len(row) if isinstance(row, list) else row.steps


def _timing(request: ScoringRequest) -> Timing:
    now = time.monotonic()
    started = request.started or now
    return Timing(1000 * (started - request.arrived), 1000 * (now - started))


def _complaint(rows: Sequence[Row], config: ModelConfig) -> tuple[str, str] | None:
    """What is impossible about a request, as a code and in words; None where it can run."""
    if not rows:
        return INVALID, "the request holds no sequence; one or more are needed"
    for number, row in enumerate(rows):
        length = steps_of(row)
        if isinstance(row, list) != (config.input == "tokens"):
            return INVALID, f"this version takes {config.input}"
        if length < 1:
            return INVALID, f"sequence {number} is empty; it needs one step or more"
        if length > config.context_length:
            return TOO_LONG, f"sequence {number} has {length} steps; this version takes {config.context_length} at most"
        if wrong := _contents_complaint(row, config):
            return INVALID, f"sequence {number} {wrong}"
    return None


def _contents_complaint(row: Row, config: ModelConfig) -> str | None:
    if isinstance(row, list):
        inside = min(row) >= 0 and max(row) < config.vocab_size
        return None if inside else f"holds a token id outside 0 to {config.vocab_size - 1}"
    fits = row.features == config.features and len(row.data) == 4 * row.steps * row.features
    return None if fits else f"must have {config.features} float32 values a step"
