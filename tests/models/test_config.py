"""Configurations as JSON: fields for imported networks are written only if they differ from their defaults."""

from __future__ import annotations

from typing import Any

import pytest

from models.choices import OPTIONAL
from models.config import ModelConfig
from models.constraints import ConfigError

PLAIN: dict[str, Any] = {"architecture": "lstm", "task": "classification", "vocab_size": 9, "classes": 2}
TRANSFORMER: dict[str, Any] = {**PLAIN, "architecture": "transformer"}
NUMBERS: dict[str, Any] = {**PLAIN, "input": "features", "features": 3}


def test_configurations_without_such_parts_keep_their_fields() -> None:
    values = ModelConfig(**PLAIN).to_dict()
    assert not set(OPTIONAL) & set(values) and len(values) == 27
    assert ModelConfig.from_dict(values) == ModelConfig(**PLAIN)


def test_parts_are_written_and_read() -> None:
    config = ModelConfig(
        **NUMBERS, input_activation="relu", output_norm="pooled", output_activation="tanh", pooling="attention",
        pooling_width=4, pooling_input_activation="tanh", pooling_activation="relu", head_widths=(8, 4),
        head_activation="gelu", head_norm=True,
    )  # fmt: skip
    values = config.to_dict()
    others = ("ngram_", "input_norm", "token_types", "separator_id", "head_width", "qk", "rotary", "norm_bias")
    others += ("first_norm", "attention_window", "global_every", "local_rotary_base")
    parts = {name for name in OPTIONAL if name == "head_widths" or not name.startswith(others)}
    assert parts <= set(values) and values["head_widths"] == [8, 4]
    assert ModelConfig.from_dict(values) == config


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (PLAIN | {"input_activation": "relu"}, "input_activation"),
        (NUMBERS | {"input_activation": "swish"}, "input_activation"),
        (PLAIN | {"pooling_width": 3}, "pooling_width"),
        (PLAIN | {"pooling_input_activation": "tanh"}, "pooling_input_activation"),
        (PLAIN | {"task": "generation", "pooling_input_activation": "tanh"}, "pooling_input_activation"),
        (PLAIN | {"head_widths": [4, 0]}, "head_widths"),
        (PLAIN | {"head_widths": [4, True]}, "head_widths"),
        (PLAIN | {"head_widths": 4}, "head_widths"),
        (PLAIN | {"head_widths": [4] * 17}, "head_widths"),
        (PLAIN | {"output_norm": "layer"}, "output_norm"),
        (PLAIN | {"task": "generation", "output_norm": "pooled"}, "output_norm"),
        (PLAIN | {"task": "generation", "head_widths": [4]}, "head_widths"),
        (PLAIN | {"task": "generation", "output_activation": "relu"}, "output_activation"),
        (PLAIN | {"input_norm": True}, "input_norm"),
        (TRANSFORMER | {"rotary_scaling": [2.0, 1.0]}, "rotary_scaling"),
        (TRANSFORMER | {"rotary_scaling": [2.0, 4.0, 1.0, 16.0]}, "rotary_scaling"),
        (TRANSFORMER | {"rotary_scaling": [0.0]}, "rotary_scaling"),
        (TRANSFORMER | {"rotary_scaling": ["2"]}, "rotary_scaling"),
        (TRANSFORMER | {"rotary_base": 1.0}, "rotary_base"),
        (TRANSFORMER | {"attention_window": 2, "local_rotary_base": 1.0}, "local_rotary_base"),
        (TRANSFORMER | {"rotary_base": float("nan")}, "rotary_base"),
        (TRANSFORMER | {"attention_window": 2, "local_rotary_base": float("nan")}, "local_rotary_base"),
        (TRANSFORMER | {"attention_window": 2, "local_rotary_base": float("inf")}, "local_rotary_base"),
        (TRANSFORMER | {"local_rotary_base": 500.0}, "local_rotary_base"),
        (PLAIN | {"local_rotary_base": 500.0}, "local_rotary_base"),
        (PLAIN | {"global_every": 2}, "global_every"),
        (TRANSFORMER | {"first_norm": False, "norm_first": False}, "first_norm"),
        (TRANSFORMER | {"global_every": 2}, "global_every"),
        (TRANSFORMER | {"attention_window": 2, "task": "generation", "classes": 0}, "attention_window"),
        (TRANSFORMER | {"head_norm": True}, "head_norm"),
        (PLAIN | {"attention_window": 2}, "attention_window"),
        (PLAIN | {"norm_bias": False}, "norm_bias"),
        (TRANSFORMER | {"head_width": 3}, "head_width"),
        (PLAIN | {"token_types": 2}, "token_types"),
        (TRANSFORMER | {"token_types": 2, "separator_id": 9}, "separator_id"),
        (TRANSFORMER | {"token_types": 2, "task": "generation", "classes": 0}, "token_types"),
        (TRANSFORMER | {"task": "embedding"}, "classes"),
        (TRANSFORMER | {"task": "embedding", "classes": 0, "head_widths": [4]}, "head_widths"),
        (TRANSFORMER | {"task": "embedding", "classes": 0, "pooling": "attention"}, "pooling"),
        (TRANSFORMER | {"task": "embedding", "classes": 0, "output_norm": "pooled"}, "output_norm"),
        (PLAIN | {"task": "embedding", "classes": 0, "pooling": "first"}, "pooling"),
    ],
)
def test_parts_that_a_network_cannot_have(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict(values)
    assert caught.value.field == field


def test_a_function_after_the_input_needs_a_projection_of_any_width() -> None:
    square = NUMBERS | {"input_width": 3}
    assert not ModelConfig(**square).projected
    assert ModelConfig(**square, input_activation="relu").projected
