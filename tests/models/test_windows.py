"""Local attention gives the results of attention with a mask, whichever way the rows of a batch are computed."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models import windows
from models.config import ModelConfig
from models.interface import Context
from models.tasks import build
from tests.models.configurations import LOCAL, SMALL, VARIANTS


@pytest.mark.parametrize(("steps", "window"), [(5, 1), (300, 7), (256, 64), (300, 200)])
def test_blocks_equal_one_call_with_a_mask(steps: int, window: int) -> None:
    torch.manual_seed(0)
    queries, keys, values = (torch.randn(2, heads, steps, 8, requires_grad=True) for heads in (4, 2, 2))
    real_BT = torch.arange(steps) < torch.tensor([steps, steps // 2])[:, None]
    padding_B11T = torch.zeros(2, steps).masked_fill(~real_BT, float("-inf"))[:, None, None]
    distance_TT = (torch.arange(steps)[:, None] - torch.arange(steps)).abs()
    mask = padding_B11T.masked_fill(distance_TT > window, float("-inf"))
    expected = functional.scaled_dot_product_attention(queries, keys, values, mask, enable_gqa=True)
    computed = windows.attend(queries, keys, values, windows.blocks(steps, window, queries, padding_B11T))
    assert computed.isfinite().all()
    real_BHTK = real_BT[:, None, :, None].expand_as(computed)
    torch.testing.assert_close(computed[real_BHTK], expected[real_BHTK])
    (gradient,) = torch.autograd.grad(computed[real_BHTK].square().sum(), keys)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_step_is_without_keys(dtype: torch.dtype) -> None:
    padding_B11T = torch.zeros(2, 300).masked_fill(torch.arange(300) >= torch.tensor([[300], [3]]), float("-inf"))
    divided = windows.blocks(300, 7, torch.zeros((), dtype=dtype), padding_B11T[:, None, None])
    assert all(block.bias.bfloat16().isfinite().any(-1).all() for block in divided)  # autocast also casts masks


def test_mixed_precision_has_finite_results_and_gradients() -> None:
    torch.manual_seed(0)
    options = SMALL | VARIANTS["transformer-modern"] | LOCAL | {"context_length": 400}
    network = build(ModelConfig(task="classification", vocab_size=23, classes=3, pooling="mean", **options)).train()
    ids_BT, lengths_B = torch.randint(23, (2, 300)), torch.tensor([300, 3])
    exact_BC = network(ids_BT, lengths_B)
    with torch.autocast("cpu", torch.bfloat16):
        hidden_BTD = network.hidden(ids_BT, Context(lengths_B))
        logits_BC = network(ids_BT, lengths_B)
    assert hidden_BTD.isfinite().all()
    torch.testing.assert_close(logits_BC.float(), exact_BC, atol=0.05, rtol=0.05)
    logits_BC.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_window_that_covers_the_sequence_has_no_effect() -> None:
    assert [windows.limits(window, 5) for window in (0, 1, 3, 4, 5)] == [False, True, True, False, False]


def test_rows_of_a_batch_do_not_depend_on_each_other() -> None:
    torch.manual_seed(0)
    options = SMALL | VARIANTS["transformer-modern"] | LOCAL | {"context_length": 400}
    network = build(ModelConfig(task="classification", vocab_size=23, classes=3, pooling="first", **options)).eval()
    ids_BT, lengths = torch.randint(23, (4, 300)), [300, 3, 150, 131]
    with torch.inference_mode():  # padding is omitted, or hidden by a mask
        packed = network.hidden(ids_BT, Context(torch.tensor(lengths)))
    masked = network.hidden(ids_BT, Context(torch.tensor(lengths)))
    for row, length in enumerate(lengths):
        alone = network.hidden(ids_BT[row : row + 1, :length], Context(None))[0]
        for together in (packed, masked):
            torch.testing.assert_close(together[row, :length], alone, atol=1e-5, rtol=1e-5)
