"""Assembles a loaded version from its network and the scorers or decoder that answer requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.batcher import Batcher
from app.engine.decoder import Decoder
from app.engine.limits import StepLimits
from app.engine.loader import LoadedNetwork
from app.engine.prefixes import Prefixes
from app.engine.reply import Counters, Reply
from app.engine.reuse import PrefixReuse
from app.engine.runner import Runner, pad, stack
from app.engine.scheduler import Scheduler
from app.engine.scorer import Scorer, ScoringItem, ScoringRow
from app.wire import engine as wire
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
        """Whether any request to this version is open, or a thread is still computing a row of a closed request."""
        return any(part.busy or (isinstance(part, Scorer) and part.computing) for part in self.parts.values())

    def status(self) -> wire.VersionStatus:
        """Return the status for the heartbeat. Safe to call from another thread."""
        loaded, decoder = self.loaded, self.decoder
        running, state = (decoder.running, decoder.runner.state) if decoder else (0, None)
        return wire.VersionStatus(
            loaded.digest, loaded.name, loaded.mode.type, loaded.nbytes,
            sum(part.running for part in self.parts.values()),
            sum(part.waiting for part in self.parts.values()),
            decoder.scheduler.slots.capacity if decoder else 0,
            state.nbytes if state else 0, running, state.narrow(0, running).nbytes if state else 0,
            decoder.reuse.nbytes if decoder and decoder.reuse else 0,
            loaded.mode.kernel, _work(self.counters), loaded.choice,
        )  # fmt: skip


def assemble(
    loaded: LoadedNetwork,
    limits: StepLimits,
    reply: Reply,
    counters: Counters,
    prefixes: Prefixes[Snapshot] | None = None,
) -> LoadedVersion:
    """Create a LoadedVersion from a loaded network. Without `prefixes`, every prompt is read from its beginning."""
    config, counters = loaded.config, Counters(counters)

    def scorer(network: Callable[[Tensor, Tensor], Tensor]) -> Scorer:
        most = limits.tokens_of_step(config, limits.max_batch_tokens)
        batcher: Batcher[ScoringItem] = Batcher(most, 1 if limits.invariant else MAX_BATCH_ROWS)
        return Scorer(_on_rows(loaded, network), config, batcher, reply, counters)

    parts: dict[type, Scorer | Decoder] = {}
    if config.architecture != "linear":  # a linear model has no body, so it has no embeddings
        parts[wire.Embed] = scorer(loaded.network.embed)
    if config.task == "generation":
        # The last bits of a result depend on the pieces in which a prompt is read, so `invariant` fixes their size.
        prefill = limits.prefill_tokens if limits.invariant else limits.tokens_of_step(config, limits.prefill_tokens)
        scheduler = Scheduler(limits.max_slots, prefill, limits.invariant)
        runner = Runner(loaded.network, limits.max_slots, loaded.device)
        step = limits.prefill_tokens if limits.invariant else 0
        reuse = PrefixReuse(prefixes, loaded.digest, runner, counters, step) if prefixes is not None else None
        parts[wire.Generate] = Decoder(
            runner, scheduler, config.vocab_size, config.position_limit or ENDLESS, loaded.eos_id, reply, counters,
            reuse,
        )  # fmt: skip
    elif config.task != "embedding":
        parts[wire.Score] = scorer(_head(loaded))
    return LoadedVersion(loaded, parts, counters)


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


def _head(loaded: LoadedNetwork) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function that computes the head's raw outputs, or a regression's answers in their original units.

    The answers are computed in float64, because float32 has too few digits for targets such as times in seconds.
    """
    network, target = loaded.network, loaded.target

    def score(inputs: Tensor, lengths_B: Tensor) -> Tensor:
        scores_BC: Tensor = network(inputs, lengths_B)
        return scores_BC if target is None else scores_BC.cpu().double() * target.std[0] + target.mean[0]

    return score


def _on_rows(
    loaded: LoadedNetwork, network: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Sequence[ScoringRow]], Tensor]:
    """Return the network as a function that takes rows.

    In each call, all rows must be token ids or all must be numeric.
    """

    def run(rows: Sequence[ScoringRow]) -> Tensor:
        tokens = [row for row in rows if isinstance(row, list)]
        if tokens:
            ids_BT, lengths_B = pad(tokens, loaded.device)
            return network(ids_BT, torch.full((len(rows),), ids_BT.shape[1]) if lengths_B is None else lengths_B)
        numeric = [row for row in rows if not isinstance(row, list)]
        x_BTF, steps_B = stack(numeric, loaded.scaling, loaded.device)
        return network(x_BTF.to(loaded.dtype), steps_B)

    return run
