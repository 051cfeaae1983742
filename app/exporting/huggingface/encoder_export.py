"""Writes encoders as models of BERT or a later family, with a head or with the modules of sentence-transformers."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.exporting.huggingface.directory_content import DirectoryContent, split
from app.exporting.huggingface.eurobert_export import eurobert_content
from app.exporting.huggingface.last_layer import check_fields, last_layer, outputs
from app.exporting.huggingface.modernbert_export import modernbert_content
from app.exporting.huggingface.sentence_modules import modules
from app.exporting.source_version import SourceVersion, differences
from app.importing.huggingface import encoders, heads
from app.importing.huggingface.encoders import EncoderNames
from app.importing.huggingface.heads import HeadNames
from app.importing.pytorch.tensors import Tensors
from models.config import ModelConfig

ENCODER = {
    "norm": "layer", "norm_first": False, "final_norm": False, "input_norm": True, "positions": "learned", "bias": True,
    "qk_norm": False, "output_norm": "none", "output_activation": "none", "ngram_buckets": 0, "input": "tokens",
    "norm_bias": True, "attention_window": 0, "head_norm": False,
}  # fmt: skip
DISTILBERT_EPS = 1e-12  # the epsilon of DistilBERT's norms, which its configuration cannot change


def encoder_content(version: SourceVersion) -> DirectoryContent:
    """Return the files of an encoder for transformers. Raises ExportRefused if no family has its layers."""
    config = version.config
    if config.positions == "rotary":
        return modernbert_content(version) if config.norm == "layer" else eurobert_content(version)
    check_fields(differences(config, ENCODER) + _attention(config))
    if _has_classifier(config):
        return _classifier(version)
    weights = _body(version.tensors, config, encoders.BERT)
    settings = _bert(config) | {"architectures": ["BertModel"]}
    return DirectoryContent(settings, weights, modules(version))


def _attention(config: ModelConfig) -> list[str]:
    """Return the fields in which the attention or the MLP differs from BERT's, each as `field is value`."""
    wrong = [] if config.groups == config.heads else [f"kv_heads is {config.kv_heads}"]
    wrong += [] if config.key_width * config.heads == config.width else [f"head_width is {config.head_width}"]
    return wrong + ([] if config.activation in encoders.ACTIVATIONS else [f"activation is {config.activation}"])


def _has_classifier(config: ModelConfig) -> bool:
    hidden = config.task != "embedding" and config.pooling == "first" and config.head_widths == (config.width,)
    return hidden and (config.head_activation == "tanh" or _is_distilbert(config))


def _is_distilbert(config: ModelConfig) -> bool:
    return config.head_activation == "relu" and not config.token_types and config.norm_eps == DISTILBERT_EPS


def _classifier(version: SourceVersion) -> DirectoryContent:
    """Return the files of a model for sequence classification, whose head reads the first token."""
    config, distilled = version.config, _is_distilbert(version.config)
    names, head = (encoders.DISTILBERT, heads.DISTILBERT) if distilled else (encoders.BERT, heads.BERT)
    settings = (_distilbert(config) if distilled else _bert(config)) | outputs(version)
    settings["architectures"] = [f"{'DistilBert' if distilled else 'Bert'}ForSequenceClassification"]
    family = settings["model_type"]
    weights = {f"{family}.{name}": value for name, value in _body(version.tensors, config, names).items()}
    inner = head.hidden if distilled else f"{family}.{head.hidden}"
    return DirectoryContent(settings, weights | _head(version, head, inner))


def _head(version: SourceVersion, names: HeadNames, hidden: str) -> Tensors:
    weight, bias = last_layer(version)
    return {
        f"{hidden}.weight": version.tensors["head_layers.0.weight"],
        f"{hidden}.bias": version.tensors["head_layers.0.bias"],
        f"{names.last}.weight": weight,
        f"{names.last}.bias": bias,
    }


def _bert(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "bert", "vocab_size": config.vocab_size, "hidden_size": config.width,
        "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
        "intermediate_size": config.inner_width, "hidden_act": config.activation,
        "hidden_dropout_prob": config.dropout, "attention_probs_dropout_prob": config.dropout,
        "max_position_embeddings": config.context_length, "type_vocab_size": config.token_types or 1,
        "layer_norm_eps": config.norm_eps, "pad_token_id": config.pad_id,
    }  # fmt: skip


def _distilbert(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "distilbert", "vocab_size": config.vocab_size, "dim": config.width, "n_layers": config.layers,
        "n_heads": config.heads, "hidden_dim": config.inner_width, "activation": config.activation,
        "dropout": config.dropout, "attention_dropout": config.dropout,
        "max_position_embeddings": config.context_length, "pad_token_id": config.pad_id, "sinusoidal_pos_embds": False,
    }  # fmt: skip


def _body(ours: Tensors, config: ModelConfig, names: EncoderNames) -> Tensors:
    """Return the body's tensors under their names in transformers."""
    weights = {
        "embeddings.word_embeddings.weight": ours["input.embedding.weight"],
        "embeddings.position_embeddings.weight": ours["body.positions.weight"],
    }
    if names is encoders.BERT:
        none = np.zeros((1, config.width), np.float32)  # the only token type has no effect
        weights["embeddings.token_type_embeddings.weight"] = ours.get("input.types.weight", none)
    for kind in ("weight", "bias"):
        weights[f"embeddings.LayerNorm.{kind}"] = ours[f"body.norm_input.{kind}"]
        for layer in range(config.layers):
            theirs, own = f"{names.layer}.{layer}", f"body.blocks.{layer}"
            weights |= split(ours[f"{own}.attention.qkv.{kind}"], theirs, names.queries_keys_values, kind, config)
            weights |= {f"{theirs}.{part}.{kind}": ours[f"{own}.{name}.{kind}"] for part, name in names.parts.items()}
    return weights
