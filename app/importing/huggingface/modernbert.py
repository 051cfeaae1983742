"""Converts the body of ModernBERT, whose layers attend to the whole text or to a window around each token."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.checkpoint.configuration import CEILINGS
from app.importing.huggingface import heads
from app.importing.huggingface.parts import ForeignBody, moved_norm, table, take
from app.importing.huggingface.source_config import SourceConfig
from app.importing.pytorch.tensors import Tensors

PARTS = {
    "attn.Wqkv": "attention.qkv",
    "attn.Wo": "attention.out",
    "mlp.Wi": "mlp.up",
    "mlp.Wo": "mlp.down",
}
ACTIVATIONS = {"gelu": "geglu", "gelu_python": "geglu", "silu": "swiglu"}  # the activation of the gate -> our name
UNUSED = rf"{heads.UNUSED}|head\.(dense|norm)\..+|decoder\.(weight|bias)"  # the layers that predict tokens
LONGEST = CEILINGS["attention_window"]
GLOBAL, LOCAL = "full_attention", "sliding_attention"
# Entries that do not affect the output. The shapes of the tensors determine the size of the vocabulary, and
# transformers reads the epsilon of the norms from norm_eps only.
UNREAD = (
    "vocab_size", "tie_word_embeddings", "layer_norm_eps", "decoder_bias", "deterministic_flash_attn",
    "embedding_dropout", "initializer_cutoff_factor", "reference_compile", "repad_logits_with_grad",
    "sparse_prediction", "sparse_pred_ignore_index", "classifier_pooling", "classifier_activation", "classifier_bias",
)  # fmt: skip


def read_modernbert(config: SourceConfig, tensors: Tensors) -> ForeignBody:
    """Convert the body of a ModernBERT model."""
    config.get(*UNREAD)
    config.expect("position_embedding_type", "absolute", None)
    width, layers = config.count("hidden_size"), config.count("num_hidden_layers")
    attention_heads = config.count("num_attention_heads")
    config.expect("head_dim", width // attention_heads, None)
    biases = {
        "attn": config.flag("attention_bias", default=False), "mlp": config.flag("mlp_bias", default=False),
    }  # fmt: skip
    normed = config.flag("norm_bias", default=False)
    words = table(tensors, "embeddings.tok_embeddings.weight", width)
    weights: Tensors = {"input.embedding.weight": words}
    weights |= moved_norm(tensors, "embeddings.norm", "body.norm_input", normed)
    weights |= moved_norm(tensors, "final_norm", "body.norm", normed)
    for layer in range(layers):
        weights |= _layer(tensors, layer, biases, normed)
    fields: dict[str, Any] = {
        "architecture": "transformer", "input": "tokens", "vocab_size": len(words), "layers": layers, "width": width,
        "heads": attention_heads, "inner": config.count("intermediate_size"), "norm": "layer", "norm_first": True,
        "final_norm": True, "input_norm": True, "first_norm": False, "norm_bias": normed, "bias": any(biases.values()),
        "norm_eps": config.number("norm_eps", default=1e-5), "tie_embeddings": False,
        "activation": config.choice("hidden_activation", options=ACTIVATIONS, default="gelu"),
        "dropout": config.number("mlp_dropout", default=0.0),
        "context_length": config.count("max_position_embeddings", default=8192),
    }  # fmt: skip
    windows = _windows(config, layers)
    return ForeignBody(fields | windows | _positions(config, local=bool(windows)), weights)


def _layer(tensors: Tensors, layer: int, biases: dict[str, bool], normed: bool) -> Tensors:
    theirs, ours = f"layers.{layer}", f"body.blocks.{layer}"
    weights = moved_norm(tensors, f"{theirs}.mlp_norm", f"{ours}.norm_mlp", normed)
    if layer:  # the first layer reads the output of the norm of the embeddings
        weights |= moved_norm(tensors, f"{theirs}.attn_norm", f"{ours}.norm_attention", normed)
    for part, name in PARTS.items():
        weights[f"{ours}.{name}.weight"] = matrix = take(tensors, f"{theirs}.{part}.weight")
        if biases[part.partition(".")[0]]:
            weights[f"{ours}.{name}.bias"] = take(tensors, f"{theirs}.{part}.bias")
        elif any(biases.values()):  # our layers have biases in all matrices or in none
            weights[f"{ours}.{name}.bias"] = np.zeros(len(matrix), np.float32)
    return weights


def _windows(config: SourceConfig, layers: int) -> dict[str, Any]:
    """Return the fields that describe which layers are local, and their window."""
    every, window = config.count("global_attn_every_n_layers", default=3), config.count("local_attention", default=128)
    kinds = config.get("layer_types", default=_kinds(every, layers))
    every = next((number for number in range(layers + 1) if _kinds(number, layers) == kinds), -1)
    if every < 0:
        config.refuse(
            "layer_types",
            f"it must name {GLOBAL} or {LOCAL} for each layer, and only each n-th layer, starting with the first, may "
            f"have {GLOBAL}",
        )
    if LOCAL not in kinds:
        return {}
    if window < 2:
        config.refuse("local_attention", "must be an integer of 2 or more")
    if window // 2 > LONGEST:
        config.refuse("local_attention", f"must be at most {2 * LONGEST + 1}")
    return {"attention_window": window // 2, "global_every": every}


def _kinds(every: int, layers: int) -> list[str]:
    return [GLOBAL if every and layer % every == 0 else LOCAL for layer in range(layers)]


def _positions(config: SourceConfig, *, local: bool) -> dict[str, Any]:
    """Return the rotary bases of global and, if there are any, local layers, from the keys of transformers 4 or 5."""
    config.expect("rope_scaling", None, {})
    parameters = config.get("rope_parameters", default={})
    if not isinstance(parameters, dict) or set(parameters) - {GLOBAL, LOCAL}:
        config.refuse("rope_parameters", f"must be an object with the entries {GLOBAL} and {LOCAL}")
    base = _base(config, parameters.get(GLOBAL), config.number("global_rope_theta", default=160_000.0))
    # In transformers 4, local layers have the base of global layers if local_rope_theta is null.
    usual = base if "local_rope_theta" in config.values else 10_000.0
    near = _base(config, parameters.get(LOCAL), config.number("local_rope_theta", default=usual))
    return {"positions": "rotary", "rotary_base": base} | ({"local_rotary_base": near} if local else {})


def _base(config: SourceConfig, entry: object, default: float) -> float:
    """Return the base in an entry of rope_parameters. Positions of any other kind than the default are refused."""
    values = {} if entry is None else entry
    if not isinstance(values, dict) or set(values) - {"rope_type", "rope_theta"}:
        config.refuse("rope_parameters", "only rope_type and rope_theta can be imported")
    if values.get("rope_type", "default") != "default":
        config.refuse("rope_parameters", "only rotary positions of the kind 'default' can be imported")
    base = values.get("rope_theta", default)
    if not isinstance(base, int | float) or isinstance(base, bool):
        config.refuse("rope_parameters", "rope_theta must be a number")
    return float(base)
