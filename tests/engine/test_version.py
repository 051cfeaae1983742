"""A loaded version has a part for each kind of request that its network can answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from app.engine.limits import PIECE_SECONDS, StepLimits
from app.engine.loader import LoadedNetwork
from app.engine.reply import Counters
from app.engine.scorer import Scorer
from app.engine.version import assemble
from app.wire import engine as wire
from app.wire.modes import ModeChoice
from models.config import ModelConfig
from models.cost import affordable_tokens
from tests.engine import builders as b
from tests.engine.builders import CPU
from tests.models.configurations import built, classifiers, generators, with_branches

EVERY = {**classifiers(), **with_branches(), **{f"generation-{n}": c for n, c in generators().items()}}
PACKED = ModeChoice("float32/onednn", "the fastest kernel")


@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY)
def test_every_network_can_be_served(config: ModelConfig) -> None:
    loaded = LoadedNetwork("digest", "name", config, built(config).eval(), 0, torch.float32, CPU, None, None, None)
    version = assemble(loaded, StepLimits(4096, 8, 512), _ignore, Counters())
    expected = {wire.Generate if config.task == "generation" else wire.Score}
    assert set(version.parts) == expected | ({wire.Embed} if config.architecture != "linear" else set())
    assert not version.busy and version.status().running == 0


@pytest.mark.parametrize("invariant", [False, True])
def test_a_large_network_computes_fewer_tokens_in_a_step(invariant: bool) -> None:
    """A slow machine reads smaller pieces of prompts and texts. In invariant mode, pieces of prompts do not change."""
    scored, generated = b.config("transformer", "classification"), b.config("transformer")
    for speed in (float("inf"), 1e7, 1.0):
        limits = StepLimits(4096, 8, 512, invariant, speed=speed)
        scoring, generating = (
            assemble(
                LoadedNetwork("d", "n", c, b.network(c), 0, torch.float32, CPU, None, None, None), limits, _ignore,
                Counters(),
            )
            for c in (scored, generated)
        )  # fmt: skip
        scorer, decoder = scoring.parts[wire.Score], generating.decoder
        assert isinstance(scorer, Scorer) and decoder is not None
        most = [affordable_tokens(c, PIECE_SECONDS, speed) for c in (scored, generated)]
        assert scorer.batcher.max_tokens == min(4096, most[0]) and (speed > 1e7 or most[0] < 512)
        assert decoder.scheduler.prefill_tokens == (512 if invariant else min(512, most[1]))


def test_the_work_of_a_version_is_counted_for_it_alone() -> None:
    counters = Counters()
    shapes = {"generation": b.config("gru"), "classification": b.config("gru", "classification")}
    loaded = {
        task: LoadedNetwork("d", "n", shape, b.network(shape), 0, torch.float32, CPU, None, None, None, PACKED)
        for task, shape in shapes.items()
    }
    one, other = (assemble(each, StepLimits(4096, 8, 16), _ignore, counters) for each in loaded.values())
    assert one.decoder is not None
    one.decoder.add(b.PEER, b.generate("a", [1] * 5, max_tokens=3))
    one.decoder.add(b.PEER, b.generate("b", [2] * 3, max_tokens=4))
    b.run(one.decoder)
    scorer = other.parts[wire.Score]
    assert isinstance(scorer, Scorer)
    scorer.add(b.PEER, wire.Score("c", "d", "p", [[1, 2], [3, 4, 5]]))
    batch = scorer.take()
    scorer.finish(batch, scorer.attempt(batch))
    assert (one.status().kernel, one.status().dtype, one.status().choice) == ("onednn", "float32", PACKED)
    # Two decode steps with both sequences, and one with the longer one. Both prompts are read in one call.
    assert one.status().work == wire.VersionWork(2, 8, 7, 3, 5, 10)
    assert other.status().work == wire.VersionWork(1, 5, 0, 1, 2, 6)
    assert counters["prompt_tokens"] == 13


def _ignore(*arguments: Any) -> None:
    """Discard replies."""
