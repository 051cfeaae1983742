"""Assembles a loaded version from its network and the scorers or decoder that answer requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass

from torch import Tensor

from app.engine import row_outputs
from app.engine.batcher import Batcher
from app.engine.decoder import Decoder
from app.engine.limits import StepLimits
from app.engine.loader import LoadedNetwork
from app.engine.prefixes import Prefixes
from app.engine.reply import Counters, Reply
from app.engine.requests import Member
from app.engine.reuse import PrefixReuse
from app.engine.runner import Runner
from app.engine.scheduler import Scheduler
from app.engine.scorer import Scorer, ScoringItem, ScoringRequest, ScoringRow
from app.engine.sequence import Sequence
from app.engine.shared_scorer import SharedScorer
from app.wire import engine as wire
from models.config import ModelConfig
from models.snapshot import Snapshot

MAX_BATCH_ROWS = 512
ENDLESS = 2**31  # represents the unlimited context of a recurrent network


@dataclass(frozen=True, slots=True, eq=False)
class LoadedVersion:
    """A loaded version. `parts` maps the type of a request to the scorer or decoder that answers it.

    All versions except those of linear models can compute embeddings. A version may also score sequences or generate
    text. `counters` are the counters of this version.
    """

    loaded: LoadedNetwork
    parts: Mapping[type, Scorer | Decoder]
    counters: Counters

    @property
    def decoder(self) -> Decoder | None:
        """The part that generates text, or None if the version is not a language model."""
        part = self.parts.get(wire.Generate)
        return part if isinstance(part, Decoder) else None

    @property
    def busy(self) -> bool:
        """Whether any request to this version is open, or a thread is still computing a row of a closed request.

        Such a row does not keep a version busy that shares its parts, because it needs hardly any memory of its own.
        """
        computing = any(isinstance(part, Scorer) and part.computing for part in self.parts.values())
        return (computing and not self.loaded.shared) or any(True for _ in self._requests())

    def status(self) -> wire.VersionStatus:
        """Return the status for the heartbeat. Safe to call from another thread.

        If versions share a base and parts, each of them reports an equal share of their memory.
        """
        loaded, decoder, base = self.loaded, self.decoder, self.loaded.shared
        sharers = max(1, *(len(part.members) for part in self.parts.values()))
        requests = list(self._requests())
        running = sum(request.running for request in requests)
        used = sum(request.running for request in requests if isinstance(request, Sequence))
        state = decoder.runner.state if decoder else None
        return wire.VersionStatus(
            loaded.digest, loaded.name, loaded.mode.type, loaded.nbytes + (base.nbytes // sharers if base else 0),
            running, len(requests) - running,
            decoder.scheduler.slots.capacity if decoder else 0,
            state.nbytes // sharers if state else 0, used, state.narrow(0, used).nbytes if state else 0,
            decoder.reuse.prefixes.bytes.get(loaded.digest, 0) if decoder and decoder.reuse else 0,
            loaded.mode.kernel, _work(self.counters), loaded.choice,
        )  # fmt: skip

    def leave(self) -> list[Scorer | Decoder]:
        """Stop sharing parts with other versions. Returns the parts that no other version uses."""
        for part in self.parts.values():
            part.members.pop(self.loaded.digest, None)
        if self.loaded.shared:
            self.loaded.shared.stacks.clear()
        return [part for part in self.parts.values() if not part.members]

    def _requests(self) -> Iterator[ScoringRequest | Sequence]:
        """Yield the open requests of this version."""
        for part in self.parts.values():
            for request in part.open.values():
                if not self.loaded.shared or request.member.digest == self.loaded.digest:
                    yield request


def assemble(
    loaded: LoadedNetwork,
    limits: StepLimits,
    reply: Reply,
    counters: Counters,
    prefixes: Prefixes[Snapshot] | None = None,
    work: Counters | None = None,
) -> LoadedVersion:
    """Create a LoadedVersion from a loaded network. Without `prefixes`, every prompt is read from its beginning.

    `work` contains the counters of the version if it has been loaded before, and `counters` those of the process.
    """
    own = Counters(counters) if work is None else work
    base = loaded.shared
    if base is None:
        return LoadedVersion(loaded, _parts(loaded, limits, reply, own, prefixes), own)
    if not base.parts:
        base.parts.update(_parts(loaded, limits, reply, Counters(counters), prefixes))
    parts = {kind: base.parts[kind] for kind in _kinds(loaded.config)}
    for part in parts.values():
        part.members[loaded.digest] = Member(loaded.digest, own, loaded.eos_id, loaded)
    return LoadedVersion(loaded, parts, own)


def _kinds(config: ModelConfig) -> list[type]:
    """The types of the requests that a version can answer."""
    kinds: list[type] = [] if config.architecture == "linear" else [wire.Embed]  # a linear model has no body
    if config.task != "embedding":
        kinds.append(wire.Generate if config.task == "generation" else wire.Score)
    return kinds


def _parts(
    loaded: LoadedNetwork, limits: StepLimits, reply: Reply, counters: Counters, prefixes: Prefixes[Snapshot] | None
) -> dict[type, Scorer | Decoder]:
    """Create the parts of a version or, if it is one of several versions with a common base, of all these versions."""
    config, base = loaded.config, loaded.shared

    def scorer(outputs: Callable[[Rows[ScoringRow]], Tensor], head: row_outputs.Head) -> Scorer:
        most = limits.tokens_of_step(config, limits.max_batch_tokens)
        batcher: Batcher[ScoringItem] = Batcher(most, 1 if limits.invariant else MAX_BATCH_ROWS)
        if base is not None:
            return SharedScorer(base, head, config, batcher, reply, counters)
        return Scorer(outputs, config, batcher, reply, counters)

    parts: dict[type, Scorer | Decoder] = {}
    kinds = _kinds(config) if base is None or config.task == "generation" else [wire.Embed, wire.Score]
    if wire.Embed in kinds:
        parts[wire.Embed] = scorer(row_outputs.embeddings(loaded), row_outputs.embedding_head)
    if wire.Score in kinds:
        parts[wire.Score] = scorer(row_outputs.scores(loaded), row_outputs.score_head)
    if wire.Generate in kinds:
        parts[wire.Generate] = _decoder(loaded, limits, reply, counters, prefixes)
    return parts


def _decoder(
    loaded: LoadedNetwork, limits: StepLimits, reply: Reply, counters: Counters, prefixes: Prefixes[Snapshot] | None
) -> Decoder:
    config, stacks = loaded.config, loaded.shared.stacks if loaded.shared else None
    # The last bits of a result depend on the pieces in which a prompt is read, so `invariant` fixes their size.
    prefill = limits.prefill_tokens if limits.invariant else limits.tokens_of_step(config, limits.prefill_tokens)
    scheduler = Scheduler(limits.max_slots, prefill, limits.invariant)
    runner = Runner(loaded.network, limits.max_slots, loaded.device, stacks)
    step = limits.prefill_tokens if limits.invariant else 0
    reuse = PrefixReuse(prefixes, loaded.digest, runner, counters, step) if prefixes is not None else None
    return Decoder(
        runner, scheduler, config.vocab_size, config.position_limit or ENDLESS, loaded.eos_id, reply, counters, reuse
    )


def _work(counters: Counters) -> wire.VersionWork:
    def total(*names: str) -> int:
        return int(sum(counters.get(name, 0.0) for name in names))

    return wire.VersionWork(
        total("classified", "finished_stop", "finished_length", "finished_abort", "failed"),
        total("prompt_tokens"),
        total("generation_tokens"),
        total("batches", "decode_calls"),
        total("batch_sequences", "decode_rows"),
        total("padded_tokens", "prefill_padded_tokens"),
    )
