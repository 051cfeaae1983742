"""Checks config.json, the configuration of a checkpoint."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from app.errors import CheckpointInvalid
from models.config import ModelConfig
from models.constraints import ConfigError

FORMAT_VERSION = 1
OWN_KEYS = {f.name for f in fields(ModelConfig)}
EXTRA_KEYS = {"format_version", "labels", "normalization", "threshold", "target", "chat_template", "eos_token"}
EXTRA_KEYS |= {"adapter"}
CHAT_TEMPLATE_LIMIT = 2**16  # characters
END_LIMIT = 1024  # characters
CEILINGS = {  # maximum values, so that a small config.json cannot make a loader allocate terabytes
    "vocab_size": 2**24,
    "features": 2**20,
    "classes": 2**20,
    "layers": 1024,
    "width": 2**16,
    "input_width": 2**16,
    "inner": 2**20,
    "pooling_width": 2**16,
    "context_length": 2**20,
    "token_types": 2**10,
    "head_width": 2**12,
    "rotary_skip": 1024,
    "attention_window": 2**12,
    "global_every": 1024,
}


def parse_config(raw: dict[str, Any]) -> ModelConfig:
    """Check a parsed config.json, and return the configuration of the network.

    Raises CheckpointInvalid if the configuration is not valid. The message names the invalid field.
    """
    if unknown := sorted(set(raw) - OWN_KEYS - EXTRA_KEYS):
        shown = ", ".join(repr(key[:60]) for key in unknown[:20])
        raise CheckpointInvalid(f"config.json has unknown fields: {shown}; remove them")
    if raw.get("format_version") != FORMAT_VERSION:
        raise CheckpointInvalid(f"config.json: format_version must be {FORMAT_VERSION}")
    try:
        config = ModelConfig.from_dict(raw)
    except ConfigError as error:
        raise CheckpointInvalid(f"config.json: {error}") from None
    for name, ceiling in CEILINGS.items():
        if not 0 <= getattr(config, name) <= ceiling:
            raise CheckpointInvalid(f"config.json: {name} must be from 0 to {ceiling}")
    if max(config.head_widths, default=0) > CEILINGS["width"]:
        raise CheckpointInvalid(f"config.json: head_widths must be at most {CEILINGS['width']}")
    _check_normalization(raw.get("normalization"), config)
    _check_target(raw.get("target"), config)
    threshold = raw.get("threshold")
    if threshold is not None and not (_is_number(threshold) and 0 <= threshold <= 1):
        raise CheckpointInvalid("config.json: threshold must be a number from 0 to 1")
    _check_chat_template(raw.get("chat_template"), config)
    _check_end(raw.get("eos_token"), config)
    return config


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_normalization(value: object, config: ModelConfig) -> None:
    if value is None:
        return
    if config.input != "features":
        raise CheckpointInvalid("config.json: normalization is allowed only if input is 'features'")
    if not isinstance(value, dict) or set(value) - {"dtype"} != {"mean", "std"}:
        raise CheckpointInvalid("config.json: normalization must have the fields mean and std, and may have dtype")
    if value.get("dtype", "float32") not in ("float32", "float64"):
        raise CheckpointInvalid("config.json: normalization.dtype must be float32 or float64")
    for name in ("mean", "std"):
        column = value[name]
        if not isinstance(column, list) or len(column) != config.features or not all(map(_is_number, column)):
            raise CheckpointInvalid(f"config.json: normalization.{name} must be a list of {config.features} numbers")
    if not all(v > 0 for v in value["std"]):
        raise CheckpointInvalid("config.json: normalization.std must be greater than 0")


def _check_target(value: object, config: ModelConfig) -> None:
    if value is None:
        return
    if config.task != "regression":
        raise CheckpointInvalid("config.json: target is allowed only for regression")
    if not isinstance(value, dict) or set(value) != {"mean", "std"} or not all(map(_is_number, value.values())):
        raise CheckpointInvalid("config.json: target must have exactly two fields, mean and std, both numbers")
    if value["std"] <= 0:
        raise CheckpointInvalid("config.json: target.std must be greater than 0")


def _check_end(value: object, config: ModelConfig) -> None:
    """Check the name of the end token. The name is needed for tokenizers whose end token has an unusual name."""
    if value is not None and (config.task != "generation" or not isinstance(value, str) or len(value) > END_LIMIT):
        raise CheckpointInvalid(
            f"config.json: for generation, eos_token must be a string of at most {END_LIMIT} characters"
        )


def _check_chat_template(value: object, config: ModelConfig) -> None:
    if value is None:
        return
    if config.task != "generation":
        raise CheckpointInvalid("config.json: chat_template is allowed only for generation")
    if not isinstance(value, str) or len(value) > CHAT_TEMPLATE_LIMIT:
        raise CheckpointInvalid(
            f"config.json: chat_template must be a string of at most {CHAT_TEMPLATE_LIMIT} characters"
        )
