"""The initial weights of every network, and the error for parameters without a rule."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from models.config import ModelConfig
from models.initialisation import initialise
from models.tasks import build
from tests.models.configurations import generators, with_branches

EVERY = {**{f"{name}-generation": config for name, config in generators().items()}, **with_branches()}


@pytest.mark.parametrize("name", EVERY)
def test_the_same_seed_gives_the_same_finite_weights(name: str) -> None:
    one, other = build(EVERY[name]), build(EVERY[name])
    for network in (one, other):
        for parameter in network.parameters():
            nn.init.constant_(parameter, math.nan)
        initialise(network, EVERY[name], torch.Generator().manual_seed(5))
    for key, value in one.state_dict().items():
        assert value.isfinite().all() and torch.equal(value, other.state_dict()[key]), key


@pytest.mark.parametrize(
    ("path", "shape"),
    [("body.blocks.0.unknown", (4, 2)), ("body.unknown.weight", (4, 1, 3)), ("body.rnn.unknown", (4,))],
)
def test_a_parameter_without_a_rule_is_refused(path: str, shape: tuple[int, ...]) -> None:
    """For parameters such as the decay rates of a state-space network, random numbers around 0 would be silently
    wrong."""
    network = nn.Module()
    *parents, name = path.split(".")
    inner = network
    for parent in parents:
        inner.add_module(parent, nn.Module())
        inner = inner.get_submodule(parent)
    inner.register_parameter(name, nn.Parameter(torch.zeros(shape)))
    config = ModelConfig(architecture="gru", task="generation", vocab_size=9)
    with pytest.raises(NotImplementedError, match=rf"{path}.*models/initialisation\.py"):
        initialise(network, config)
