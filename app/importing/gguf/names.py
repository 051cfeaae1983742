"""Renames the metadata and the tensors of a GGUF file to the names used in transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from app.importing.gguf.blocks import dequantized
from app.importing.gguf.reader import GgufFile
from app.importing.huggingface.source_config import SourceConfig
from app.importing.pytorch.tensors import Array, ForeignFileInvalid, Tensors

GGUF_ARCHITECTURES = ("llama", "qwen2", "qwen3")
KEYS: Mapping[str, str] = {  # keys of the metadata, without the architecture's prefix -> entries of config.json
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "context_length": "max_position_embeddings",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}
IGNORED = ("attention.value_length", "rope.dimension_count")  # entries that must equal the width of a head
WHOLE: Mapping[str, str] = {"token_embd": "embed_tokens", "output_norm": "norm", "output": "lm_head"}
PARTS: Mapping[str, str] = {  # the parts of a layer
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
LAYER = re.compile(r"blk\.(\d{1,5})\.(\w+)\.(weight|bias)")


def read_config(file: GgufFile) -> SourceConfig:
    """Return the metadata as a config.json.

    Unknown entries about the network keep their names, so that `SourceConfig.settle` rejects them.
    """
    metadata = file.metadata
    architecture = metadata.get("general.architecture")
    if architecture not in GGUF_ARCHITECTURES:
        raise ForeignFileInvalid(
            f"general.architecture is {str(architecture)[:40]!r}; the architectures that can be imported are "
            f"{', '.join(GGUF_ARCHITECTURES)}"
        )
    prefix = f"{architecture}."
    own = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
    scaling = {key: own.pop(f"rope.scaling.{key}") for key in ("type", "factor") if f"rope.scaling.{key}" in own}
    values = {KEYS.get(key, prefix + key): value for key, value in own.items() if key not in IGNORED}
    if scaling.get("type", "none") != "none":
        values["rope_scaling"] = scaling
    if metadata.get("split.count", 1) != 1:
        raise ForeignFileInvalid("split.count: a GGUF file in several parts cannot be imported; merge the parts first")
    config = SourceConfig(values | {"model_type": architecture}, "the metadata")
    heads, width = config.count("num_attention_heads"), config.count("hidden_size")
    head = config.count("head_dim", default=max(1, width // heads))
    for key in IGNORED:
        if own.get(key, head) != head:
            raise ForeignFileInvalid(f"{prefix}{key} is {own[key]!r:.40}; it must equal the width of a head ({head})")
    return config


def read_tensors(file: GgufFile, config: SourceConfig) -> Tensors:
    """Return the tensors in float32, under the names used by transformers. Unknown tensors keep their names."""
    tensors: Tensors = {}
    for name, tensor in file.tensors.items():
        numbers = dequantized(file.data[tensor.begin : tensor.end], tensor.kind, tensor.shape)
        match, (whole, _, kind) = LAYER.fullmatch(name), name.rpartition(".")
        if match and match[2] in PARTS:
            numbers = _unpermuted(numbers, match[2], config)
            name = f"layers.{int(match[1])}.{PARTS[match[2]]}.{match[3]}"
        elif whole in WHOLE:
            name = f"{WHOLE[whole]}.{kind}"
        tensors[name] = numbers
    return tensors


def _unpermuted(numbers: Array, part: str, config: SourceConfig) -> Array:
    """Return the rows of a query or key projection in the order used by transformers.

    Files with the `llama` architecture order the rows so that adjacent rows are rotated together. Our networks rotate
    row k of a head together with row k + K/2.
    """
    if config.get("model_type") != "llama" or part not in ("attn_q", "attn_k"):
        return numbers
    heads = config.count("num_attention_heads")
    if part == "attn_k":
        heads = config.count("num_key_value_heads", default=heads)
    if numbers.shape[0] % (2 * heads):
        raise ForeignFileInvalid(f"{part} has {numbers.shape[0]} rows, which cannot be divided into {heads} heads")
    return np.ascontiguousarray(numbers.reshape(heads, -1, 2, *numbers.shape[1:]).swapaxes(1, 2)).reshape(numbers.shape)
