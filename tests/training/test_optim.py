"""The learning rate over a training, and which parameters decay."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.training import optim
from app.training.config import Settled
from models.config import ModelConfig
from models.tasks import build


def settled(**changes: Any) -> Settled:
    model = ModelConfig(architecture="transformer", task="classification", vocab_size=9, classes=2, width=8, heads=2)
    values: dict[str, Any] = {name: 0 for name in Settled.__slots__}
    asked = {"model": model.to_dict(), "learning_rate": 0.1, "schedule": "cosine", "optimizer": "adamw"}
    return Settled(**(values | asked | {"warmup_ratio": 0.2, "weight_decay": 0.3} | changes))


def test_it_rises_in_a_line_and_falls_to_a_hundredth() -> None:
    rate = [optim.learning_rate(settled(), progress / 10) for progress in range(11)]
    assert rate[:3] == pytest.approx([0.001, 0.05, 0.1])
    assert rate[6] == pytest.approx(0.1 * (0.01 + 0.99 / 2))
    assert rate[10] == pytest.approx(0.001)
    linear = [optim.learning_rate(settled(schedule="linear"), progress / 10) for progress in (2, 6, 10)]
    assert linear == pytest.approx([0.1, 0.1 * (0.01 + 0.99 / 2), 0.001])
    assert {optim.learning_rate(settled(schedule="constant"), p / 10) for p in range(2, 11)} == {0.1}


@given(st.sampled_from(["cosine", "linear", "constant"]), st.floats(0, 1), st.floats(0, 1))
def test_it_is_always_within_its_bounds(schedule: str, warmup: float, progress: float) -> None:
    rate = optim.learning_rate(settled(schedule=schedule, warmup_ratio=warmup), progress)
    assert 0.1 * 0.0099 <= rate <= 0.1 * 1.0001


def test_matrices_decay_and_nothing_else() -> None:
    network = build(settled().config)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    for optimizer in ("adamw", "sgd"):
        decayed, kept = optim.build(network, settled(optimizer=optimizer)).param_groups
        assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
        of = {names[id(parameter)] for parameter in decayed["params"]}
        rest = {names[id(parameter)] for parameter in kept["params"]}
        assert of | rest == set(names.values())
        assert "head.weight" in of and any(name.endswith("attention.qkv.weight") for name in of)
        assert "input.embedding.weight" in rest and "head.bias" in rest and any("norm" in name for name in rest)
        assert not any("norm" in name or name.endswith("bias") for name in of)
    network.input.requires_grad_(False)
    (decayed, kept) = optim.build(network, settled()).param_groups
    assert "input.embedding.weight" not in {names[id(p)] for group in (decayed, kept) for p in group["params"]}
