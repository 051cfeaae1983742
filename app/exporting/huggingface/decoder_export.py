"""Writes language models as GPT-2 or as one of the families that share Llama's structure."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.exporting.huggingface.directory_content import DirectoryContent
from app.exporting.huggingface.llama_layers import LLAMA, llama_settings, llama_weights
from app.exporting.source_version import ExportRefused, SourceVersion, differences
from app.importing.huggingface.decoders import GPT2_ACTIVATIONS, GPT2_NORMS, GPT2_PARTS
from app.importing.pytorch.tensors import Tensors
from models.config import ModelConfig

COMMON = {"output_norm": "none", "ngram_buckets": 0}
GPT2 = {
    "norm": "layer", "positions": "learned", "bias": True, "qk_norm": False, "norm_first": True, "final_norm": True,
    "input_norm": False, "norm_bias": True, "first_norm": True,
}  # fmt: skip
GPT2_NAMES = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu"}


def decoder_content(version: SourceVersion) -> DirectoryContent:
    """Return the files of a language model for transformers. Raises ExportRefused if no family has its layers."""
    config = version.config
    gpt2 = config.positions == "learned"
    wrong = differences(config, {**COMMON, **(GPT2 if gpt2 else LLAMA)})
    if config.head_bias and np.any(version.tensors["head.bias"]):
        wrong.append("head_bias is true")
    if gpt2 and (config.groups != config.heads or config.activation not in GPT2_ACTIVATIONS.values()):
        wrong.append(f"kv_heads is {config.kv_heads}, activation is {config.activation}")
    if wrong:
        raise ExportRefused(
            f"no language model in transformers has the same layers as this version: {', '.join(wrong)}; serve the "
            "version with this service, and use `ostinato export` and `ostinato import` to move it to another machine"
        )
    content = _gpt2(version) if gpt2 else _llama(version)
    end = None if version.tokenizer is None else version.tokenizer.eos_id
    return DirectoryContent(content.config | {"eos_token_id": end, "bos_token_id": None}, content.tensors)


def _gpt2(version: SourceVersion) -> DirectoryContent:
    config, ours = version.config, version.tensors
    weights = {"wte.weight": ours["input.embedding.weight"], "wpe.weight": ours["body.positions.weight"]}
    for kind in ("weight", "bias"):
        weights[f"ln_f.{kind}"] = ours[f"body.norm.{kind}"]
        for layer in range(config.layers):
            theirs, own = f"h.{layer}", f"body.blocks.{layer}"
            for part, name in (GPT2_NORMS | GPT2_PARTS).items():
                value = ours[f"{own}.{name}.{kind}"]
                weights[f"{theirs}.{part}.{kind}"] = np.ascontiguousarray(value.T)  # matrices are (in, out)
    settings = {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": config.vocab_size,
        "n_embd": config.width, "n_layer": config.layers, "n_head": config.heads, "n_inner": config.inner_width,
        "n_positions": config.context_length, "activation_function": GPT2_NAMES[config.activation],
        "layer_norm_epsilon": config.norm_eps, "resid_pdrop": config.dropout, "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
    }  # fmt: skip
    return _with_head(version, settings, weights, "transformer.")


def _llama(version: SourceVersion) -> DirectoryContent:
    config = version.config
    family = _family(config)
    settings = llama_settings(config) | {
        "model_type": family.lower(), "architectures": [f"{family}ForCausalLM"], "use_sliding_window": False,
    }  # fmt: skip
    if config.rotary_skip:
        settings["no_rope_layer_interval"] = config.rotary_skip
        settings["no_rope_layers"] = [int((index + 1) % config.rotary_skip != 0) for index in range(config.layers)]
    return _with_head(version, settings, llama_weights(version.tensors, config), "model.")


def _family(config: ModelConfig) -> str:
    """Return the family that has this decoder's options. Raises ExportRefused if no family has all of them."""
    options = {"SmolLM3": bool(config.rotary_skip), "Qwen2": config.qkv_bias, "Qwen3": config.qk_norm}
    chosen = [name for name, used in options.items() if used]
    wide = config.key_width * config.heads != config.width
    if len(chosen) > 1 or (wide and chosen in (["Qwen2"], ["SmolLM3"])):
        used = [name for name in ("rotary_skip", "qkv_bias", "qk_norm", "head_width") if getattr(config, name)]
        raise ExportRefused(
            f"no model family of transformers has all of {', '.join(used)}; serve the version with this service"
        )
    return chosen[0] if chosen else "Llama"


def _with_head(version: SourceVersion, settings: dict[str, Any], weights: Tensors, prefix: str) -> DirectoryContent:
    tied = version.config.tie_embeddings
    named = {f"{prefix}{name}": value for name, value in weights.items()}
    if not tied:
        named["lm_head.weight"] = version.tensors["head.weight"]
    return DirectoryContent(settings | {"tie_word_embeddings": tied}, named)
