"""Reads a decoder's rotary positions, windows and context length, under their old and new keys."""

from __future__ import annotations

from typing import Any

from app.importing.huggingface.source_config import SourceConfig
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.importing.questions import Answers

KINDS = ("default", "linear", "llama3")


def read_rotary(config: SourceConfig, layers: int, answers: Answers) -> dict[str, Any]:
    """Return the fields of a `ModelConfig` that describe positions.

    Raises ForeignFileInvalid for unsupported positions.
    """
    config.expect("partial_rotary_factor", 1, 1.0, None)
    for key in ("rope_interleaved", "is_llama_config"):
        config.get(key)  # in the files of SmolLM 2; transformers does not read them
    parameters = _object(config, "rope_parameters") | _object(config, "rope_scaling")
    kind = parameters.pop("rope_type", parameters.pop("type", "default"))
    parameters.pop("type", None)
    theta = config.number("rope_theta", default=10_000.0)
    fields: dict[str, Any] = {
        "positions": "rotary", "rotary_base": _number(config, parameters.pop("rope_theta", theta)),
        "rotary_scaling": _scaling(config, kind, parameters), "rotary_skip": _skip(config, layers),
        "context_length": config.count("max_position_embeddings"),
    }  # fmt: skip
    window = _window(config)
    if window is not None and window < fields["context_length"]:
        answers.assumed.append(
            f"context_length={window}: the attention window; within it, every token attends to all earlier tokens"
        )
        fields["context_length"] = window
    return fields


def _object(config: SourceConfig, key: str) -> dict[str, Any]:
    value = config.get(key, default={})
    if not isinstance(value, dict):
        config.refuse(key, "must be an object")
    return dict(value)


def _scaling(config: SourceConfig, kind: object, parameters: dict[str, Any]) -> tuple[float, ...]:
    names: tuple[str, ...] = ()
    if kind == "linear":
        names = ("factor",)
    elif kind == "llama3":
        names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    elif kind != "default":
        raise ForeignFileInvalid(
            f"{config.name}: the rotary positions {str(kind)[:40]!r} cannot be imported; they must "
            f"be one of {', '.join(KINDS)}"
        )
    if parameters.get("partial_rotary_factor") == 1:
        del parameters["partial_rotary_factor"]
    if set(parameters) != set(names):
        wrong = ", ".join(sorted(name[:40] for name in set(parameters) ^ set(names)))
        raise ForeignFileInvalid(
            f"{config.name}: rotary positions of the kind {kind} have missing or unexpected entries: {wrong}"
        )
    return tuple(_number(config, parameters[name]) for name in names)


def _number(config: SourceConfig, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ForeignFileInvalid(f"{config.name}: the entries of rotary positions must be numbers")
    return float(value)


def _skip(config: SourceConfig, layers: int) -> int:
    """Return n if every n-th layer has no rotary positions, as in SmolLM 3; 0 if all layers have them."""
    interval, rotates = config.count("no_rope_layer_interval", default=4), config.get("no_rope_layers")
    if config.get("model_type") != "smollm3":
        return 0
    expected = [int((index + 1) % interval != 0) for index in range(layers)]
    if rotates is None or rotates == expected:
        return interval if 0 in expected else 0
    if rotates == [1] * layers:
        return 0
    config.refuse("no_rope_layers", "only every n-th layer may be without rotary positions")


def _window(config: SourceConfig) -> int | None:
    """Return the width of the sliding windows, or None if all layers attend to the whole text."""
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and (other := set(map(str, kinds)) - {"full_attention", "sliding_attention"}):
        config.refuse("layer_types", f"{', '.join(sorted(other))[:80]} cannot be imported")
    config.get("max_window_layers")
    window, used = config.get("sliding_window"), config.get("use_sliding_window", default=True)
    return int(window) if isinstance(window, int) and used else None
