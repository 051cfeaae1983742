"""Packed products give the same results as plain ones: alone, in networks, in whole passes and step by step."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from models.config import ModelConfig
from models.interface import Context
from models.kernels import onednn, reference
from models.kernels.choice import bind
from tests.models.configurations import batch, generator, generators

CALLS = ((3, 1, 0, 2), (1, 1, 1, 1), (1, 0, 1, 0), (0, 0, 5, 1), (1, 1, 1, 1))  # chunks, steps, rows left out

pytestmark = pytest.mark.skipif(
    not onednn.supports(torch.device("cpu"), torch.float32), reason="oneDNN does not pack matrices on this processor"
)


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("biased", [False, True])
@torch.inference_mode()
def test_products_are_those_of_the_reference(biased: bool, rows: int) -> None:
    weight, bias = torch.randn(24, 16), torch.randn(24) if biased else None
    x, summand = torch.randn(rows, 16), torch.randn(rows, 24)
    torch.testing.assert_close(onednn.linear(weight, bias)(x), reference.linear(weight, bias)(x))
    torch.testing.assert_close(
        onednn.linear_add(weight, bias)(x, summand), reference.linear_add(weight, bias)(x, summand)
    )
    for activation in ("silu", "gelu", "gelu_tanh", "relu"):
        for name in ("linear_activation", "linear_gated"):
            packed, plain = (getattr(kernels, name)(weight, bias, activation)(x) for kernels in (onednn, reference))
            torch.testing.assert_close(packed, plain, msg=lambda text, n=name, a=activation: f"{n} {a}: {text}")


@torch.inference_mode()
def test_a_half_of_a_matrix_and_leading_dimensions() -> None:
    weight, x = torch.randn(48, 16)[:24], torch.randn(2, 3, 16)
    torch.testing.assert_close(onednn.linear(weight, None)(x), reference.linear(weight, None)(x))


@pytest.mark.parametrize("config", generators().values(), ids=generators().keys())
@torch.inference_mode()
def test_generators_step_by_step(config: ModelConfig) -> None:
    plain = generator(config)
    packed = deepcopy(plain)
    bind(packed, onednn)
    states = plain.new_state(4), packed.new_state(4)
    for call in CALLS:
        ids_BT, lengths_B = batch(config, call)
        hidden = [net(ids_BT, Context(lengths_B, state)) for net, state in zip((plain, packed), states, strict=True)]
        real_BT = torch.arange(ids_BT.shape[1]) < lengths_B[:, None]
        logits = plain.logits(hidden[0]), packed.logits(hidden[1])
        torch.testing.assert_close(logits[0][real_BT], logits[1][real_BT], atol=1e-5, rtol=1e-5)
    assert states[0].positions == states[1].positions
    for old, new in zip(states[0].layers, states[1].layers, strict=True):
        torch.testing.assert_close(old, new, atol=1e-5, rtol=1e-5)


def test_weights_that_are_held_twice_are_counted() -> None:
    """Recurrent matrices, and embeddings that are also the head, are in memory twice. Matrices of a Transformer are in
    memory once."""
    sizes = {name: sum(p.nbytes for p in generator(config).parameters()) for name, config in generators().items()}
    twice = {name: bind(generator(config), onednn) for name, config in generators().items()}
    assert twice["lstm"] == sizes["lstm"] - 4 * 23  # all but the head's bias
    assert twice["transformer"] == 4 * 23 * 16
    assert twice["transformer-post"] == 0
