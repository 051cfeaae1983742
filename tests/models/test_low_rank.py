"""A low-rank update gives the outputs of a linear map with the merged matrix."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.adapters import adapter_shapes, merged
from models.config import ModelConfig
from models.low_rank import LowRankLinear, add_adapters
from models.tasks import build

SIZES = st.integers(1, 24)


@given(SIZES, SIZES, st.integers(1, 9), st.floats(0.25, 64.0), st.booleans(), st.lists(st.integers(1, 4), max_size=3))
def test_the_output_is_that_of_the_merged_matrix(
    width: int, out: int, r: int, alpha: float, bias: bool, rows: list[int]
) -> None:
    """(W + alpha / r * B A) x + b: Hu et al., 2021, section 4.1; the scale and the names are PEFT's."""
    torch.manual_seed(width * 1000 + out)
    linear = nn.Linear(width, out, bias=bias).double()
    x = torch.randn(*rows, width, dtype=torch.float64)
    layer = LowRankLinear(linear, r, alpha, dropout=0.0).double()
    assert torch.equal(layer(x), linear(x))  # B is zero at first
    nn.init.normal_(layer.lora_B.weight)
    matrices = {"lora_A.weight": layer.lora_A.weight, "lora_B.weight": layer.lora_B.weight}
    weight = merged({"weight": linear.weight}, matrices, alpha / r)["weight"]
    expected = x @ (linear.weight + (alpha / r) * (layer.lora_B.weight @ layer.lora_A.weight)).T
    expected = expected if linear.bias is None else expected + linear.bias
    assert torch.allclose(layer(x), expected, rtol=1e-9, atol=1e-9)
    assert torch.allclose(nn.functional.linear(x, weight, linear.bias), expected, rtol=1e-9, atol=1e-9)


def test_dropout_applies_to_the_update_alone() -> None:
    linear = nn.Linear(6, 5)
    layer = LowRankLinear(linear, 2, 4.0, dropout=0.5)
    nn.init.normal_(layer.lora_B.weight)
    x = torch.randn(3, 6)
    assert not torch.equal(layer(x), layer(x))
    layer.dropout.p = 1.0
    assert torch.equal(layer(x), linear(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_only_the_chosen_matrices_of_the_blocks_get_an_update() -> None:
    sizes = {"vocab_size": 16, "classes": 2, "width": 8, "heads": 2, "kv_heads": 1, "layers": 2}
    config = ModelConfig(architecture="transformer", task="classification", **sizes)  # type: ignore[arg-type]
    network = build(config)
    before = set(network.state_dict())
    add_adapters(network, ["qkv", "down"], 3, 6.0, 0.0)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if name not in before}
    assert shapes == dict(adapter_shapes(config, ["qkv", "down"], 3))
    assert shapes["body.blocks.1.attention.qkv.lora_B.weight"] == (16, 3)
    assert set(network.state_dict()) > before
