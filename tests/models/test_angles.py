"""Tables of angles grow with the positions that are used, and contain the same numbers regardless of how they grew."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.angles import BLOCK, Angles
from models.config import ModelConfig
from models.interface import Context
from models.tasks import build


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


@pytest.mark.parametrize("task", ["classification", "generation"])
@pytest.mark.parametrize("positions", ["rotary", "sinusoidal"])
def test_a_long_context_length_costs_no_memory_before_it_is_used(task: str, positions: str) -> None:
    config = ModelConfig(
        architecture="transformer", task=task, vocab_size=16, classes=2, width=16, heads=2, layers=1,
        positions=positions, context_length=2**20,
    )  # fmt: skip
    body = build(config).eval().body
    with Largest() as largest, torch.inference_mode():
        body(torch.ones(1, 3, 16), Context())
        if task == "generation":
            body(torch.ones(2, 1, 16), Context(state=body.new_state(4).narrow(0, 2)))
    assert 0 < largest.numbers < 2**16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reaches", [(3000,), (1, 2, 700, 701, 3000), (300, 599, 1201)])
def test_a_grown_table_equals_a_whole_one(reaches: tuple[int, ...], dtype: torch.dtype) -> None:
    angles = Angles(10)
    for reach in reaches:
        tables = angles.up_to(reach, torch.empty(0, dtype=dtype))
    steps = torch.arange(3000, dtype=torch.float64)
    rates = torch.exp(torch.arange(0, 10, 2, dtype=torch.float64) * (-math.log(10_000.0) / 10))
    turned = torch.outer(steps, rates)
    for table, whole in zip(tables, (turned.sin(), turned.cos()), strict=True):
        assert reaches[-1] <= len(table) < 2 * reaches[-1] + BLOCK and table.dtype == dtype
        assert torch.equal(table[:3000], whole[: len(table)].to(dtype))
