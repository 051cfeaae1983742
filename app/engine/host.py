"""The engines of one process: which versions are loaded, and whose turn it is. Knows messages; knows no socket."""

from __future__ import annotations

import ctypes
import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from app.engine.batcher import Batcher
from app.engine.decoder import Decoder
from app.engine.lanes import Lanes, share
from app.engine.loader import LoadedNetwork, Loader, LoadOutcome
from app.engine.memory import Memory
from app.engine.reply import Counters, Reply, describe, fail
from app.engine.runner import Runner, pad, stack
from app.engine.scheduler import Scheduler
from app.engine.scorer import Row, Scorer, ScoringItem, steps_of
from app.errors import OstinatoError
from app.wire import engine as wire

logger = logging.getLogger(__name__)
LEAST_STEPS = 64  # in a batch that lanes share: handing over costs some fifty microseconds
ENDLESS = 2**31  # a recurrent network goes on for as long as it is asked to


@dataclass(frozen=True, slots=True)
class StepLimits:
    """What bounds a step, and the weights (`memory`, in bytes). `invariant`: fixed shapes, so that neighbours change
    no bit of a reply."""

    max_batch_tokens: int
    max_slots: int
    prefill_tokens: int
    invariant: bool = False
    memory: int = 2**63


@dataclass(frozen=True, slots=True, eq=False)
class LoadedVersion:
    """A loaded version at work. A version generates, or classifies; every one embeds."""

    version: LoadedNetwork
    embedding: Scorer
    classification: Scorer | None
    generation: Decoder | None

    @property
    def parts(self) -> list[Scorer | Decoder]:
        return [part for part in (self.embedding, self.classification, self.generation) if part]

    def status(self) -> wire.VersionStatus:
        version, generation = self.version, self.generation
        running, state = (generation.running, generation.runner.state) if generation else (0, None)
        return wire.VersionStatus(
            version.digest, version.name, str(version.dtype).removeprefix("torch."), version.nbytes,
            sum(part.running for part in self.parts),
            sum(part.waiting for part in self.parts),
            generation.scheduler.slots.capacity if generation else 0,
            state.nbytes if state else 0, running, state.narrow(0, running).nbytes if state else 0,
        )  # fmt: skip


class EngineHost:
    """`receive` messages, `step` while `ready`. Answers leave through `reply`; `served` is by digest."""

    def __init__(self, limits: StepLimits, loader: Loader, reply: Reply, lanes: Lanes | None = None) -> None:
        self.limits, self.loader, self.reply, self.lanes = limits, loader, reply, lanes
        self.served: dict[str, LoadedVersion] = {}
        self.counters = Counters()
        self.memory = Memory(limits.memory)
        self._step_started: float | None = None
        self._loading: dict[str, list[bytes]] = {}
        self._turn = 0
        self._leaving: set[str] = set()  # unloaded as soon as they are idle

    # --- messages -----------------------------------------------------------------------------------------------

    def receive(self, peer: bytes, message: wire.ToEngine) -> None:
        if isinstance(message, wire.Score | wire.Embed | wire.Generate):
            self._request(peer, message)
        elif isinstance(message, wire.Abort):
            any(part.abort(peer, message.id) for part in self._parts())
        elif isinstance(message, wire.Load):
            self._load(peer, message)
        elif isinstance(message, wire.Unload):
            self._leaving.add(message.digest)
            self._let_go()
        elif isinstance(message, wire.Keep):
            self.memory.required = frozenset(message.digests)

    def _request(self, peer: bytes, message: wire.Score | wire.Embed | wire.Generate) -> None:
        served = self.served.get(message.digest)
        if served is None:
            complaint = "model_not_loaded", "this version is not loaded here"
            fail(self.reply, self.counters, peer, message.id, *complaint, message.request_id)
            return
        self.memory.used(message.digest)
        if isinstance(message, wire.Embed):
            served.embedding.add(peer, message)
        elif isinstance(message, wire.Generate) and served.generation:
            served.generation.add(peer, message)
        elif isinstance(message, wire.Score) and served.classification:
            served.classification.add(peer, message)
        else:
            complaint = "wrong_task", f"this version is for {served.version.config.task}"
            fail(self.reply, self.counters, peer, message.id, *complaint, message.request_id)

    def forget(self, unwanted: Callable[[bytes], bool]) -> None:
        """Some peers are gone: free what they hold."""
        for part in self._parts():
            part.forget(unwanted)

    def fail_all(self, code: str, message: str) -> None:
        for part in self._parts():
            part.fail_all(code, message)

    # --- loading ------------------------------------------------------------------------------------------------

    def _load(self, peer: bytes, message: wire.Load) -> None:
        if message.digest in self.served:
            self.reply(peer, wire.Loaded(message.digest, 0.0))
        elif message.digest in self._loading:
            self._loading[message.digest].append(peer)
        else:
            try:
                for digest in self.memory.reserve(message, self._idle):
                    self._unload(digest)
            except OstinatoError as error:
                logger.warning("%s: %s (%s)", message.name, error.message, ", ".join(self.memory.names))
                self.reply(peer, wire.LoadFailed(message.digest, error.code, error.message))
                return
            self._loading[message.digest] = [peer]
            self.loader.submit(message)

    def _idle(self, digest: str) -> bool:
        return digest in self.served and not any(part.busy for part in self.served[digest].parts)

    def collect_loads(self) -> None:
        """Take over what the loader has done, and tell everyone who asked for it."""
        for outcome in self.loader.collect():
            peers = self._loading.pop(outcome.message.digest, [])
            answer = self._settle(outcome)
            for peer in peers:
                self.reply(peer, answer)
        if self._leaving:  # one may have been given up while it was loading, and no step may come
            self._let_go()

    def _settle(self, outcome: LoadOutcome) -> wire.Loaded | wire.LoadFailed:
        result, digest = outcome.result, outcome.message.digest
        if isinstance(result, LoadedNetwork):
            try:
                self.served[digest] = serve(result, self.limits, self.reply, self.counters)
            except Exception as error:
                logger.exception("%s cannot be served", outcome.message.name)
                self.memory.release(digest)
                return wire.LoadFailed(digest, *describe(error))
            self.memory.loaded(digest, result.nbytes)
            self.counters.add("loads")
            self.counters.add("load_seconds", outcome.seconds)
            logger.info("loaded %s in %.2f s", outcome.message.name, outcome.seconds)
            return wire.Loaded(digest, outcome.seconds)
        assert isinstance(result, OstinatoError)
        self.memory.release(digest)
        self.counters.add("load_failures")
        logger.warning("%s was not loaded: %s", outcome.message.name, result.message)
        return wire.LoadFailed(digest, result.code, result.message)

    def _let_go(self) -> None:
        for digest in [d for d in self._leaving if d not in self._loading and (d not in self.served or self._idle(d))]:
            self._leaving.discard(digest)
            self._unload(digest)

    def _unload(self, digest: str) -> None:
        served = self.served.pop(digest, None)
        if served is None:
            return
        self.memory.release(digest)
        self.counters.add("unloads")
        logger.info("unloaded %s", served.version.name)
        del served
        _release_memory()

    # --- steps --------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a request is open."""
        return any(part.busy for part in self._parts())

    @property
    def ready(self) -> bool:
        """Whether `step` has something to do; else one waits for a message, or for a lane."""
        lanes = self.lanes
        if lanes is None:
            return self.busy
        queued = lanes.free > 0 and self._next_in_turn() is not None
        return lanes.finished or queued or any(self._generating())

    @property
    def busy_since(self) -> float | None:
        """When the oldest work at hand began (monotonic). Safe to read from another thread."""
        started = self._step_started
        return started if started is not None or self.lanes is None else self.lanes.since

    def step(self) -> None:
        """Classification batches, as many as there are lanes for, then one generation step of each version.

        What generates has all cores for a step, so nothing is left in the lanes then.
        """
        self._step_started = time.monotonic()
        with torch.inference_mode():
            generating = list(self._generating())
            self._classify(once=bool(generating) or self.lanes is None)
            if generating and self.lanes:
                self.lanes.collect(wait=True)
                self.lanes.widen()
            for generation in generating:
                self._guarded(generation, generation.step)
        self._step_started = None
        if self._leaving:
            self._let_go()

    def _generating(self) -> Iterator[Decoder]:
        for served in list(self.served.values()):
            if served.generation and served.generation.busy:
                yield served.generation

    def _classify(self, once: bool) -> None:
        if self.lanes:
            self.lanes.collect()
        while (self.lanes is None or self.lanes.free) and (part := self._next_in_turn()):
            self._turn += 1
            part.last_turn = self._turn
            self._guarded(part, partial(self._run_batch, part))
            if once or not (self.lanes and self.lanes.running):
                return

    def _next_in_turn(self) -> Scorer | None:
        queued = [part for part in self._parts() if isinstance(part, Scorer) and part.queued]
        return min(queued, key=lambda part: part.last_turn, default=None)

    def _run_batch(self, part: Scorer) -> None:
        batch, lanes = part.take(), self.lanes
        if not batch:
            return
        steps = [steps_of(item.row) for item in batch]
        worth_sharing = part.queued or (len(batch) > 1 and sum(steps) >= LEAST_STEPS)
        if lanes and (lanes.running or worth_sharing):
            for piece in [batch] if lanes.running else share(batch, steps, lanes.count):
                lanes.start(partial(part.attempt, piece), partial(self._finish, part, piece))
            return
        if lanes:
            lanes.widen()
        part.finish(batch, part.attempt(batch))

    def _finish(self, part: Scorer, piece: Sequence[ScoringItem], outcome: list[list[float]] | Exception) -> None:
        self._guarded(part, lambda: part.finish(piece, outcome))

    def _guarded(self, part: Scorer | Decoder, work: Callable[[], object]) -> None:
        """Faults of a request are dealt with inside; what still comes out would be ours, and must end no process."""
        try:
            work()
        except Exception as error:
            logger.exception("an engine step failed")
            part.fail_all(*describe(error))

    def _parts(self) -> Iterator[Scorer | Decoder]:
        for served in list(self.served.values()):
            yield from served.parts

    def statuses(self) -> list[wire.VersionStatus]:
        """Safe to call from another thread."""
        return [served.status() for served in list(self.served.values())]


def serve(version: LoadedNetwork, limits: StepLimits, reply: Reply, counters: Counters) -> LoadedVersion:
    """Put a loaded version to work."""
    config = version.config

    def part(network: Callable[[Tensor, Tensor], Tensor]) -> Scorer:
        batcher: Batcher[ScoringItem] = Batcher(limits.max_batch_tokens, 1 if limits.invariant else 512)
        return Scorer(_on_rows(version, network), config, batcher, reply, counters)

    if config.task != "generation":
        return LoadedVersion(version, part(version.network.embed), part(_scorer(version)), None)
    scheduler = Scheduler(limits.max_slots, limits.prefill_tokens, limits.invariant)
    runner = Runner(version.network, limits.max_slots, version.device)
    generation = Decoder(
        runner, scheduler, config.vocab_size, config.position_limit or ENDLESS, version.eos_id, reply, counters
    )  # fmt: skip
    return LoadedVersion(version, part(version.network.embed), None, generation)


def _scorer(version: LoadedNetwork) -> Callable[[Tensor, Tensor], Tensor]:
    """Raw outputs; the value of a regression in the units of its training data."""
    network, target = version.network, version.target

    def score(inputs: Tensor, lengths_B: Tensor) -> Tensor:
        scores_BC: Tensor = network(inputs, lengths_B)
        return scores_BC if target is None else scores_BC.float() * target.std[0] + target.mean[0]

    return score


def _on_rows(version: LoadedNetwork, network: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Sequence[Row]], Tensor]:
    """The network as a function of plain rows."""

    def run(rows: Sequence[Row]) -> Tensor:
        tokens = [row for row in rows if isinstance(row, list)]
        if tokens:
            ids_BT, lengths_B = pad(tokens, version.device)
            return network(ids_BT, torch.full((len(rows),), ids_BT.shape[1]) if lengths_B is None else lengths_B)
        numeric = [row for row in rows if not isinstance(row, list)]
        x_BTF, steps_B = stack(numeric, version.scaling, version.device)
        return network(x_BTF.to(version.dtype), steps_B)

    return run


def _release_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # glibc gives back what it keeps for later
    except (OSError, AttributeError):
        logger.debug("this C library has no malloc_trim")
