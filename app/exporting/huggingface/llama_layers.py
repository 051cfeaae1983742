"""The layers of Llama, which many families share: their names in transformers, and their entries in config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from app.exporting.huggingface.directory_content import split
from app.importing.huggingface.decoders import LLAMA_NORMS, QUERIES_KEYS_VALUES
from app.importing.pytorch.tensors import Tensors
from models.config import ModelConfig

LLAMA: Mapping[str, Any] = {  # the fields of a network with these layers
    "norm": "rms", "positions": "rotary", "bias": False, "activation": "swiglu", "norm_first": True, "final_norm": True,
    "input_norm": False, "first_norm": True,
}  # fmt: skip
SCALINGS = {1: ("factor",), 4: ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")}
KINDS = {0: "default", 1: "linear", 4: "llama3"}


def llama_settings(config: ModelConfig) -> dict[str, Any]:
    """Return the entries of a config.json for transformers that describe the layers."""
    return {
        "vocab_size": config.vocab_size, "hidden_size": config.width, "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads, "num_key_value_heads": config.groups, "head_dim": config.key_width,
        "intermediate_size": config.inner_width, "hidden_act": "silu", "rms_norm_eps": config.norm_eps,
        "max_position_embeddings": config.context_length, "rope_parameters": _rotary(config),
        "attention_bias": False, "mlp_bias": False,
    }  # fmt: skip


def llama_weights(ours: Tensors, config: ModelConfig) -> Tensors:
    """Return the tensors of the body under their names in transformers, without a prefix."""
    weights = {"embed_tokens.weight": ours["input.embedding.weight"], "norm.weight": ours["body.norm.weight"]}
    for layer in range(config.layers):
        weights |= _layer(ours, f"layers.{layer}", f"body.blocks.{layer}", config)
    return weights


def _rotary(config: ModelConfig) -> dict[str, Any]:
    scaling = config.rotary_scaling
    settings: dict[str, Any] = {"rope_type": KINDS[len(scaling)], "rope_theta": config.rotary_base}
    settings |= dict(zip(SCALINGS.get(len(scaling), ()), scaling, strict=True))
    if len(scaling) == 4:
        settings["original_max_position_embeddings"] = int(scaling[3])
    return settings


def _layer(ours: Tensors, theirs: str, own: str, config: ModelConfig) -> Tensors:
    weights = {f"{theirs}.{part}.weight": ours[f"{own}.{name}.weight"] for part, name in LLAMA_NORMS.items()}
    for kind in ("weight", "bias"):
        if f"{own}.attention.qkv.{kind}" in ours:
            weights |= split(ours[f"{own}.attention.qkv.{kind}"], theirs, QUERIES_KEYS_VALUES, kind, config)
    for part, name in (("q_norm", "norm_queries"), ("k_norm", "norm_keys")):
        if config.qk_norm:
            weights[f"{theirs}.self_attn.{part}.weight"] = ours[f"{own}.attention.{name}.weight"]
    gate, up = np.split(ours[f"{own}.mlp.up.weight"], 2)
    weights[f"{theirs}.self_attn.o_proj.weight"] = ours[f"{own}.attention.out.weight"]
    weights[f"{theirs}.mlp.gate_proj.weight"] = np.ascontiguousarray(gate)
    weights[f"{theirs}.mlp.up_proj.weight"] = np.ascontiguousarray(up)
    weights[f"{theirs}.mlp.down_proj.weight"] = ours[f"{own}.mlp.down.weight"]
    return weights
