"""With plain products, the recurrent cells give the same results as torch's cells."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from models.interface import Context
from models.kernels import reference
from models.kernels.choice import bind
from tests.models.configurations import generator, generators

CONFIGS = generators()


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_a_bound_network_computes_the_same(name: str) -> None:
    plain = generator(CONFIGS[name])
    bound = deepcopy(plain)
    bind(bound, reference)
    states = plain.new_state(3), bound.new_state(3)
    for _ in range(4):
        ids_BT = torch.randint(23, (3, 1))
        logits = [
            net.logits(net(ids_BT, Context(None, state))) for net, state in zip((plain, bound), states, strict=True)
        ]
        torch.testing.assert_close(*logits, atol=1e-6, rtol=1e-5)


def test_products_are_differentiable_and_follow_the_weight() -> None:
    weight, x = torch.randn(4, 3, requires_grad=True), torch.randn(2, 3)
    product = reference.linear_gated(weight, None, "silu")
    product(x).sum().backward()
    assert weight.grad is not None and weight.grad.any()
    with torch.no_grad():
        weight.zero_()
    assert not product(x).any()
