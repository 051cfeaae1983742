"""Passes messages to the loaded versions of one engine process, and runs their steps. Does not use sockets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch

from app.engine.decoder import Decoder
from app.engine.lanes import Lanes, share
from app.engine.limits import StepLimits
from app.engine.loader import LoadedNetwork
from app.engine.loader_thread import Loader
from app.engine.loading import Loading, trim
from app.engine.memory import Memory
from app.engine.prefixes import Prefixes
from app.engine.reply import Counters, Reply, describe, fail
from app.engine.scorer import Scorer, ScoringItem, steps_of
from app.engine.turns import Active, Turns
from app.engine.version import LoadedVersion, assemble
from app.wire import engine as wire
from models.cost import CORE_SPEED, predict
from models.interruption import interruptible
from models.snapshot import Snapshot

logger = logging.getLogger(__name__)
LONG_SECONDS = 0.25  # a sequence with a longer predicted time is computed separately, on one core
LEAST_STEPS = 64  # a batch with fewer steps is not split between lanes: each piece costs about 50 µs more


class EngineHost:
    """Hosts loaded versions. Pass messages to `receive`, and call `step` while `ready` is true.

    Answers are sent with `reply`.
    """

    def __init__(self, limits: StepLimits, loader: Loader, reply: Reply, lanes: Lanes | None = None) -> None:
        self.limits, self.reply, self.lanes = limits, reply, lanes
        self.counters = Counters()
        self.memory = Memory(limits.memory)
        self.prefixes: Prefixes[Snapshot] | None = Prefixes(limits.prefixes) if limits.prefixes else None

        def start(network: LoadedNetwork, work: Counters | None) -> LoadedVersion:
            return assemble(network, limits, reply, self.counters, self.prefixes, work)

        self.loading = Loading(loader, self.memory, start, self._retire, reply, self.counters)
        self.versions = self.loading.versions
        self._step_started: float | None = None
        self._scorers: Active[Scorer] = Active()
        self._decoders: Active[Decoder] = Active()
        self._turns: Turns[Scorer] = Turns()
        self._handlers: dict[type, Callable[[bytes, Any], object]] = {
            wire.Score: self._request,
            wire.Embed: self._request,
            wire.Generate: self._request,
            wire.Abort: self._abort,
            wire.Load: self.loading.load,
            wire.Unload: lambda _, message: self.loading.unload(message.digest),
            wire.Keep: self._keep,
        }

    # --- messages -----------------------------------------------------------------------------------------------

    def receive(self, peer: bytes, message: wire.ToEngine) -> None:
        self._handlers[type(message)](peer, message)

    def _request(self, peer: bytes, message: wire.Score | wire.Embed | wire.Generate) -> None:
        version = self.versions.get(message.digest)
        if version is None:
            problem = "model_not_loaded", "this version is not loaded in this engine"
            fail(self.reply, self.counters, peer, message.id, *problem, message.request_id)
            return
        self.memory.used(message.digest)
        part: Any = version.parts.get(type(message))  # a part whose `add` accepts messages of this type
        if part is None:
            problem = "wrong_task", f"this version is for {version.loaded.config.task}"
            fail(self.reply, self.counters, peer, message.id, *problem, message.request_id)
            return
        part.add(peer, message)
        if isinstance(part, Decoder):
            self._decoders.add(part)
        else:
            self._scorers.add(part)
            self._turns.add(part)

    def _abort(self, peer: bytes, message: wire.Abort) -> None:
        any(part.abort(peer, message.id) for part in self._active())

    def _keep(self, _: bytes, message: wire.Keep) -> None:
        self.memory.required = frozenset(message.digests)

    def forget(self, gone: Callable[[bytes], bool]) -> None:
        """Drop the requests of disconnected peers."""
        for part in self._active():
            part.forget(gone)

    def fail_all(self, code: str, message: str) -> None:
        """Fail every open request."""
        for part in self._active():
            part.fail_all(code, message)

    def collect_loads(self) -> None:
        """Start serving the versions that have been loaded, and reply to the peers that requested the loads."""
        self.loading.collect()

    def _retire(self, version: LoadedVersion) -> None:
        digest = version.loaded.digest
        if self.prefixes and digest not in self.versions:  # otherwise, its network has only been replaced
            self.prefixes.drop(digest)
        for part in version.leave():
            if isinstance(part, Decoder):
                self._decoders.discard(part)
            else:
                self._scorers.discard(part)
                self._turns.discard(part)

    def _active(self) -> Iterator[Scorer | Decoder]:
        """Iterate over the parts that have open requests."""
        return chain(self._scorers, self._decoders)

    # --- state --------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether any request is open."""
        return bool(self._scorers or self._decoders)

    @property
    def ready(self) -> bool:
        """Whether `step` has work to do. If not, the caller should wait for a message or for a lane to finish."""
        lanes = self.lanes
        if lanes is None:
            return self.busy
        return lanes.finished or (lanes.free > 0 and bool(self._turns)) or bool(self._decoders)

    @property
    def busy_since(self) -> float | None:
        """The monotonic time at which the oldest running work began, if any. Safe to read from another thread."""
        started = self._step_started
        return started if started is not None or self.lanes is None else self.lanes.since

    def statuses(self) -> list[wire.VersionStatus]:
        """The status of each loaded version. Safe to call from another thread."""
        return self.loading.statuses()

    # --- steps --------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Run scoring batches, at most one in each lane, then one step of each decoder that has requests.

        Since a decoder uses all cores, it waits until the lanes are empty.
        """
        self._step_started = time.monotonic()
        with torch.inference_mode():
            decoders = list(self._decoders)
            self._score(once=bool(decoders) or self.lanes is None)
            if decoders and self.lanes:
                self.lanes.collect(wait=True)
                self.lanes.widen()
            for decoder in decoders:
                self._guard(decoder, decoder.step)
        self._step_started = None
        self.loading.unload_idle()

    def _score(self, once: bool) -> None:
        """Run scorers while a lane is free.

        Stop after one scorer if `once` is true or if its batch ran in this thread.
        """
        lanes = self.lanes
        if lanes:
            lanes.collect()
        while (lanes is None or lanes.free) and (scorer := self._turns.take()):
            self._guard(scorer, partial(self._run_batch, scorer))
            if once or not (lanes and lanes.running):
                return

    def _run_batch(self, scorer: Scorer) -> None:
        """Run the next batch of a scorer, either in the lanes (whole or in pieces) or in this thread with all cores.

        Lanes are faster only if all lanes have work. Lanes are therefore used if some lanes are already running, if
        more rows are waiting, or if this batch is large enough to be split.
        """
        batch, lanes = scorer.take(), self.lanes
        if lanes:
            batch = self._separate(scorer, batch, lanes)
        if not batch:
            return
        steps = [steps_of(item.row) for item in batch]
        worth_sharing = scorer.queued or (len(batch) > 1 and sum(steps) >= LEAST_STEPS)
        if lanes and (lanes.running or worth_sharing):
            for piece in [batch] if lanes.running else share(batch, steps, lanes.count):
                scorer.computing += 1
                lanes.start(partial(scorer.attempt, piece), partial(self._finish, scorer, piece))
            return
        if lanes:
            lanes.widen()
        scorer.finish(batch, scorer.attempt(batch))

    def _separate(self, scorer: Scorer, batch: list[ScoringItem], lanes: Lanes) -> list[ScoringItem]:
        """Start each long row of a batch separately, in parallel with other work. Return the other rows."""
        others = []
        for item in batch:
            if predict(scorer.config, steps_of(item.row), lanes.count * CORE_SPEED) <= LONG_SECONDS:
                others.append(item)
            else:
                scorer.computing += 1
                lanes.start_long(partial(_attempt_long, scorer, item), partial(self._finish, scorer, [item]))
        return others

    def _finish(self, scorer: Scorer, piece: Sequence[ScoringItem], outcome: list[list[float]] | Exception) -> None:
        scorer.computing -= 1
        self._guard(scorer, partial(scorer.finish, piece, outcome))

    def _guard(self, part: Scorer | Decoder, work: Callable[[], object]) -> None:
        """Run `work`.

        If `work` raises an exception, which is a bug, all requests of the part fail, but the process continues.
        """
        try:
            work()
        except Exception as error:
            logger.exception("an engine step failed")
            part.fail_all(*describe(error))


def _attempt_long(scorer: Scorer, item: ScoringItem) -> list[list[float]] | Exception:
    """Compute a long row, then return its memory to the operating system, because other rows need less."""
    with interruptible(lambda: item.request.closed):
        outcome = scorer.attempt_open([item])
    trim()
    return outcome
