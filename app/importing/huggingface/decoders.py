"""Converts the bodies of GPT-2 and of decoders with Llama's structure."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.importing.huggingface.parts import ForeignBody, joined, moved, table, take
from app.importing.huggingface.rotary import read_rotary
from app.importing.huggingface.source_config import SourceConfig
from app.importing.pytorch.tensors import ForeignFileInvalid, Tensors
from app.importing.questions import Answers

GPT2_ACTIVATIONS = {
    "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu": "gelu", "relu": "relu",
}  # fmt: skip
GPT2_PARTS = {
    "attn.c_attn": "attention.qkv",
    "attn.c_proj": "attention.out",
    "mlp.c_fc": "mlp.up",
    "mlp.c_proj": "mlp.down",
}
GPT2_NORMS = {"ln_1": "norm_attention", "ln_2": "norm_mlp"}
LLAMA_NORMS = {"input_layernorm": "norm_attention", "post_attention_layernorm": "norm_mlp"}
QUERIES_KEYS_VALUES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def read_gpt2(config: SourceConfig, tensors: Tensors, answers: Answers) -> ForeignBody:
    """Convert the body of a GPT-2 model."""
    for key in ("n_ctx", "n_positions", "vocab_size", "reorder_and_upcast_attn"):
        config.get(key)  # the shapes of the tensors determine the sizes; the last entry changes only the rounding
    config.expect("scale_attn_weights", True)
    config.expect("scale_attn_by_inverse_layer_idx", False)
    width, layers = config.count("n_embd", "hidden_size"), config.count("n_layer", "num_hidden_layers")
    words, positions = table(tensors, "wte.weight", width), table(tensors, "wpe.weight", width)
    weights = {"input.embedding.weight": words, "body.positions.weight": positions}
    for layer in range(layers):
        theirs, ours = f"h.{layer}", f"body.blocks.{layer}"
        for mask in ("attn.bias", "attn.masked_bias"):
            tensors.pop(f"{theirs}.{mask}", None)
        weights |= moved(tensors, {f"{theirs}.{part}": f"{ours}.{name}" for part, name in GPT2_NORMS.items()})
        linear = moved(tensors, {f"{theirs}.{part}": f"{ours}.{name}" for part, name in GPT2_PARTS.items()})
        # GPT-2 stores its matrices as (in, out).
        weights |= {name: np.ascontiguousarray(value.T) if value.ndim == 2 else value for name, value in linear.items()}
    weights |= moved(tensors, {"ln_f": "body.norm"})
    fields = {
        "layers": layers, "width": width, "heads": config.count("n_head", "num_attention_heads"),
        "inner": config.count("n_inner", default=4 * width), "norm": "layer", "bias": True, "positions": "learned",
        "activation": config.choice("activation_function", options=GPT2_ACTIVATIONS, default="gelu_new"),
        "norm_eps": config.number("layer_norm_epsilon", default=1e-5), "context_length": len(positions),
        "dropout": config.number("resid_pdrop", default=0.1), "vocab_size": len(words),
    }  # fmt: skip
    return ForeignBody(fields, weights)


def read_llama(config: SourceConfig, tensors: Tensors, answers: Answers) -> ForeignBody:
    """Convert the body of a Llama, SmolLM, Mistral, Qwen 2 or Qwen 3 model."""
    config.choice("hidden_act", options={"silu": "swiglu"}, default="silu")
    config.expect("mlp_bias", False, None)
    config.expect("attention_bias", False, None)
    width, layers = config.count("hidden_size"), config.count("num_hidden_layers")
    heads = config.count("num_attention_heads")
    words = table(tensors, "embed_tokens.weight", width)
    config.get("vocab_size")  # has no effect: the shape of the embedding determines the size
    weights: Tensors = {"input.embedding.weight": words, "body.norm.weight": take(tensors, "norm.weight")}
    for layer in range(layers):
        weights |= _llama_layer(tensors, f"layers.{layer}", f"body.blocks.{layer}")
    first = "body.blocks.0.attention"
    fields: dict[str, Any] = {
        "layers": layers, "width": width, "heads": heads,
        "kv_heads": config.count("num_key_value_heads", default=heads), "inner": config.count("intermediate_size"),
        "norm": "rms", "bias": False, "activation": "swiglu", "norm_eps": config.number("rms_norm_eps", default=1e-6),
        "qk_norm": f"{first}.norm_queries.weight" in weights, "qkv_bias": f"{first}.qkv.bias" in weights,
        "dropout": 0.0, "vocab_size": len(words),
    }  # fmt: skip
    usual = width // heads
    head_width = config.count("head_dim", default=128 if config.get("model_type") == "qwen3" else usual)
    if head_width * heads != width:
        fields["head_width"] = head_width
    return ForeignBody(fields | read_rotary(config, layers, answers), weights)


def _llama_layer(tensors: Tensors, theirs: str, ours: str) -> Tensors:
    # Files from 2023 contain this table, which can be computed from config.json.
    tensors.pop(f"{theirs}.self_attn.rotary_emb.inv_freq", None)
    weights = {f"{ours}.{name}.weight": take(tensors, f"{theirs}.{part}.weight") for part, name in LLAMA_NORMS.items()}
    for kind in ("weight", "bias"):
        if f"{theirs}.self_attn.q_proj.{kind}" in tensors or kind == "weight":
            names = [f"{theirs}.{part}.{kind}" for part in QUERIES_KEYS_VALUES]
            weights[f"{ours}.attention.qkv.{kind}"] = joined(tensors, names)
    weights[f"{ours}.attention.out.weight"] = take(tensors, f"{theirs}.self_attn.o_proj.weight")
    for part, name in (("q_norm", "norm_queries"), ("k_norm", "norm_keys")):
        if f"{theirs}.self_attn.{part}.weight" in tensors:
            weights[f"{ours}.attention.{name}.weight"] = tensors.pop(f"{theirs}.self_attn.{part}.weight")
    gated = [f"{theirs}.mlp.gate_proj.weight", f"{theirs}.mlp.up_proj.weight"]
    weights[f"{ours}.mlp.up.weight"] = joined(tensors, gated)
    weights[f"{ours}.mlp.down.weight"] = take(tensors, f"{theirs}.mlp.down_proj.weight")
    return weights


def add_vocabulary_head(body: ForeignBody, config: SourceConfig, tensors: Tensors, tied: bool) -> str:
    """Add the head of a language model, which may share the embedding's matrix. Returns its description."""
    words = body.tensors["input.embedding.weight"]
    own = tensors.pop("lm_head.weight", None)
    if config.flag("tie_word_embeddings", default=tied) or own is None:
        if own is not None and not np.array_equal(own, words):
            raise ForeignFileInvalid("lm_head.weight differs from the embedding, although tie_word_embeddings is true")
        if own is None and not config.flag("tie_word_embeddings", default=tied):
            raise ForeignFileInvalid("the tensor 'lm_head.weight' is missing; a language model needs a head")
        body.fields["tie_embeddings"] = True
    else:
        body.fields["tie_embeddings"] = False
        body.tensors["head.weight"] = own
    body.fields.update(task="generation", head_bias=False)
    return "softmax: the next token"
