"""Predicted computing times of sequences."""

from __future__ import annotations

import pytest

from models.choices import NETWORKS
from models.config import ModelConfig
from models.cost import CORE_SPEED, SHORT, UNBOUNDED, affordable_tokens, predict

SMALL = {"task": "classification", "vocab_size": 100, "classes": 2, "layers": 2, "width": 256}


@pytest.mark.parametrize("architecture", NETWORKS)
def test_usual_sequences_are_far_below_the_limit(architecture: str) -> None:
    config = ModelConfig(architecture=architecture, **SMALL)  # type: ignore[arg-type]
    assert predict(config, 8192, CORE_SPEED) < 10
    assert predict(config, 2**22, CORE_SPEED) > 30


def test_a_transformer_costs_the_square_of_the_length() -> None:
    config = ModelConfig(architecture="transformer", **SMALL)  # type: ignore[arg-type]
    assert predict(config, 200_000, CORE_SPEED) > 3.9 * predict(config, 100_000, CORE_SPEED)
    assert predict(config, 150_000, 2 * CORE_SPEED) > 142  # in seconds; measured on an engine with two cores


def test_more_cores_and_a_second_direction() -> None:
    config = ModelConfig(architecture="lstm", **SMALL)  # type: ignore[arg-type]
    both = ModelConfig(architecture="lstm", bidirectional=True, **SMALL)  # type: ignore[arg-type]
    assert predict(config, 1000, 4 * CORE_SPEED) < predict(config, 1000, CORE_SPEED)
    assert predict(both, 1000, CORE_SPEED) > 2 * predict(config, 1000, CORE_SPEED)


@pytest.mark.parametrize("architecture", NETWORKS)
@pytest.mark.parametrize("width", [256, 2048])
def test_affordable_tokens_take_the_given_time(architecture: str, width: int) -> None:
    config = ModelConfig(architecture=architecture, **{**SMALL, "width": width})  # type: ignore[arg-type]
    tokens = affordable_tokens(config, 0.25, CORE_SPEED)
    assert 1 <= tokens < UNBOUNDED
    if architecture == "transformer":
        assert tokens / SHORT * predict(config, SHORT, CORE_SPEED) == pytest.approx(0.25, rel=0.05)
    assert affordable_tokens(config, 1e-9, CORE_SPEED) == 1
    assert affordable_tokens(config, 0.25, float("inf")) == UNBOUNDED
