"""A loaded network becomes a version with a part for each kind of request that it can answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from app.engine.limits import StepLimits
from app.engine.loader import LoadedNetwork
from app.engine.reply import Counters
from app.engine.version import assemble
from app.wire import engine as wire
from models.config import ModelConfig
from tests.engine.builders import CPU
from tests.models.configurations import built, classifiers, generators, with_branches

EVERY = {**classifiers(), **with_branches(), **{f"generation-{n}": c for n, c in generators().items()}}


@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY)
def test_every_network_can_be_served(config: ModelConfig) -> None:
    loaded = LoadedNetwork("digest", "name", config, built(config).eval(), 0, torch.float32, CPU, None, None, None)
    version = assemble(loaded, StepLimits(4096, 8, 512), _ignore, Counters())
    expected = {wire.Generate if config.task == "generation" else wire.Score}
    assert set(version.parts) == expected | ({wire.Embed} if config.architecture != "linear" else set())
    assert not version.busy and version.status().running == 0


def _ignore(*arguments: Any) -> None:
    """Discard replies."""
