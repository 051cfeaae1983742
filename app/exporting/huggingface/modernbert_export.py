"""Writes encoders with ModernBERT's layers, with its head or with the modules of sentence-transformers."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.exporting.huggingface.directory_content import DirectoryContent
from app.exporting.huggingface.last_layer import check_fields, last_layer, outputs
from app.exporting.huggingface.sentence_modules import modules
from app.exporting.source_version import SourceVersion, differences
from app.importing.huggingface import heads
from app.importing.huggingface.modernbert import ACTIVATIONS, GLOBAL, LOCAL, PARTS
from app.importing.pytorch.tensors import Tensors
from models.config import ModelConfig

MODERNBERT: dict[str, Any] = {
    "norm": "layer", "norm_first": True, "final_norm": True, "input_norm": True, "first_norm": False,
    "qk_norm": False, "rotary_skip": 0, "rotary_scaling": (), "token_types": 0, "input": "tokens",
    "output_norm": "none", "output_activation": "none", "ngram_buckets": 0,
}  # fmt: skip
GATES = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
FUNCTIONS = {ours: theirs for theirs, ours in reversed(heads.FUNCTIONS.items())}
POOLINGS = {"first": "cls", "mean": "mean"}
USUAL_WINDOW = 128  # in the configuration of a network whose layers all attend to the whole text


def modernbert_content(version: SourceVersion) -> DirectoryContent:
    """Return the files of an encoder for transformers. Raises ExportRefused if ModernBERT does not have its layers."""
    config = version.config
    check_fields(differences(config, MODERNBERT) + _attention(config))
    weights = _body(version.tensors, config)
    settings = _settings(config)
    settings |= {"attention_bias": _has_biases(weights, "attn"), "mlp_bias": _has_biases(weights, "mlp")}
    if not _has_head(config):
        return DirectoryContent(settings | {"architectures": ["ModernBertModel"]}, weights, modules(version))
    weights = {f"model.{name}": value for name, value in weights.items()} | _head(version)
    settings |= outputs(version) | {
        "architectures": ["ModernBertForSequenceClassification"], "classifier_pooling": POOLINGS[config.pooling],
        "classifier_activation": FUNCTIONS[config.head_activation],
        "classifier_bias": f"{heads.MODERNBERT.hidden}.bias" in weights,
    }  # fmt: skip
    return DirectoryContent(settings, weights)


def _attention(config: ModelConfig) -> list[str]:
    """Return the other fields in which the layers differ from ModernBERT's, each as `field is value`."""
    wrong = [] if config.groups == config.heads else [f"kv_heads is {config.kv_heads}"]
    wrong += [] if config.key_width * config.heads == config.width else [f"head_width is {config.head_width}"]
    wrong += ["qkv_bias is true"] if config.qkv_bias and not config.bias else []
    if config.attention_window and not config.global_every:
        wrong.append("global_every is 0 (in transformers 4, the first layer of a ModernBERT is never local)")
    return wrong + ([] if config.activation in GATES else [f"activation is {config.activation}"])


def _has_head(config: ModelConfig) -> bool:
    layers = config.head_norm and config.head_widths == (config.width,) and config.head_activation in FUNCTIONS
    return config.task != "embedding" and layers and config.pooling in POOLINGS


def _settings(config: ModelConfig) -> dict[str, Any]:
    """Return the entries of config.json. Positions and windows have the keys of transformers 4 and 5."""
    kinds = [LOCAL if config.window(layer) else GLOBAL for layer in range(config.layers)]
    bases = {GLOBAL: config.rotary_base, LOCAL: config.local_rotary_base}
    return {
        "model_type": "modernbert", "vocab_size": config.vocab_size, "hidden_size": config.width,
        "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
        "intermediate_size": config.inner_width, "hidden_activation": GATES[config.activation],
        "max_position_embeddings": config.context_length, "norm_eps": config.norm_eps, "norm_bias": config.norm_bias,
        "mlp_dropout": config.dropout,
        "local_attention": 2 * config.attention_window or USUAL_WINDOW, "layer_types": kinds,
        "global_attn_every_n_layers": config.global_every or 1,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
        "global_rope_theta": config.rotary_base, "local_rope_theta": config.local_rotary_base,
        "pad_token_id": config.pad_id, "bos_token_id": None, "eos_token_id": None, "cls_token_id": None,
        "sep_token_id": None,
    }  # fmt: skip


def _body(ours: Tensors, config: ModelConfig) -> Tensors:
    """Return the body's tensors under their names in transformers."""
    names = {"input.embedding": "embeddings.tok_embeddings", "body.norm_input": "embeddings.norm"}
    names["body.norm"] = "final_norm"
    for layer in range(config.layers):
        theirs, own = f"layers.{layer}", f"body.blocks.{layer}"
        names |= {f"{own}.{name}": f"{theirs}.{part}" for part, name in PARTS.items()}
        names |= {f"{own}.norm_attention": f"{theirs}.attn_norm", f"{own}.norm_mlp": f"{theirs}.mlp_norm"}
    every = {f"{theirs}.{kind}": f"{own}.{kind}" for own, theirs in names.items() for kind in ("weight", "bias")}
    weights = {theirs: ours[own] for theirs, own in every.items() if own in ours}
    for block in ("attn", "mlp"):  # the matrices may have biases in only one of them
        if not _has_biases(weights, block):
            weights = {name: value for name, value in weights.items() if not _is_bias(name, block)}
    return weights


def _is_bias(name: str, block: str) -> bool:
    return f".{block}." in name and name.endswith(".bias")


def _has_biases(weights: Tensors, block: str) -> bool:
    """Whether a bias of a matrix in `attn` or `mlp` differs from 0."""
    return any(np.any(value) for name, value in weights.items() if _is_bias(name, block))


def _head(version: SourceVersion) -> Tensors:
    names, ours = heads.MODERNBERT, version.tensors
    weight, bias = last_layer(version)
    tensors = {f"{names.hidden}.weight": ours["head_layers.0.weight"], f"{names.last}.weight": weight}
    tensors |= {f"{names.last}.bias": bias, f"{names.norm}.weight": ours["head_norm.weight"]}
    if np.any(ours["head_layers.0.bias"]):
        tensors[f"{names.hidden}.bias"] = ours["head_layers.0.bias"]
    if version.config.norm_bias:
        tensors[f"{names.norm}.bias"] = ours["head_norm.bias"]
    return tensors
