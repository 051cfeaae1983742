"""Writes Transformers with rotary positions, such as those trained here, as EuroBERT models."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.exporting.huggingface.directory_content import DirectoryContent
from app.exporting.huggingface.last_layer import check_fields, last_layer, outputs
from app.exporting.huggingface.llama_layers import LLAMA, llama_settings, llama_weights
from app.exporting.huggingface.sentence_modules import modules
from app.exporting.source_version import SourceVersion, differences
from app.importing.pytorch.tensors import Tensors

EUROBERT: dict[str, Any] = {
    **LLAMA, "qk_norm": False, "qkv_bias": False, "rotary_skip": 0, "head_width": 0, "token_types": 0,
    "input": "tokens", "output_norm": "none", "output_activation": "none", "head_widths": (), "ngram_buckets": 0,
    "attention_window": 0,
}  # fmt: skip
POOLINGS = {"mean": "mean", "first": "bos"}


def eurobert_content(version: SourceVersion) -> DirectoryContent:
    """Return the files of an encoder for transformers. Raises ExportRefused if EuroBERT does not have its layers."""
    config = version.config
    check_fields(differences(config, EUROBERT))
    weights = llama_weights(version.tensors, config)
    settings = llama_settings(config) | {
        "model_type": "eurobert", "architectures": ["EuroBertModel"], "pad_token_id": config.pad_id,
        "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    # The hidden layer of EuroBERT's head has `width` units, and each output requires two of them (see `_head`).
    if config.task == "embedding" or config.pooling not in POOLINGS or 2 * config.classes > config.width:
        return DirectoryContent(settings, weights, modules(version))
    settings |= outputs(version) | {"classifier_pooling": POOLINGS[config.pooling]}
    settings["architectures"] = ["EuroBertForSequenceClassification"]
    return DirectoryContent(settings, {f"model.{name}": value for name, value in weights.items()} | _head(version))


def _head(version: SourceVersion) -> Tensors:
    """Return a head with a hidden layer that computes the same outputs as our head, which has no hidden layer.

    The hidden layer of EuroBERT ends with GELU. Since gelu(x) - gelu(-x) = x, the hidden layer computes each output and
    its negative, and the last layer subtracts the second from the first.
    """
    weight, bias = last_layer(version)
    count, width = weight.shape
    dense, last = np.zeros((width, width), np.float32), np.zeros((count, width), np.float32)
    dense[:count], dense[count : 2 * count] = weight, -weight
    last[:, :count], last[:, count : 2 * count] = np.eye(count), -np.eye(count)
    return {
        "dense.weight": dense, "dense.bias": np.zeros(width, np.float32), "classifier.weight": last,
        "classifier.bias": bias,
    }  # fmt: skip
