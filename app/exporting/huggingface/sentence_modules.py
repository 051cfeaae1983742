"""The sentence-transformers modules after an encoder: pooling, and a normalisation or the last layer of a head."""

from __future__ import annotations

from typing import Any

from app.exporting.huggingface.directory_content import Modules
from app.exporting.huggingface.last_layer import last_layer
from app.exporting.source_version import ExportRefused, SourceVersion
from app.importing.huggingface.sentence import MODES, MODULES

POOLINGS = {ours: mode for mode, ours in MODES.items()}
FLAGS = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "lasttoken": "lasttoken"}
PACKAGE = "sentence_transformers.models"  # the package that all releases of sentence-transformers accept
IDENTITY = "torch.nn.modules.linear.Identity"


def modules(version: SourceVersion) -> Modules:
    """Return the files for an embedding version, or for a version whose head is a single layer after the pooling.

    Raises ExportRefused for any other pooling or head.
    """
    config = version.config
    if config.head_widths or config.pooling not in POOLINGS:
        head = f"pooling is {config.pooling}, head_widths are {list(config.head_widths)}"
        raise ExportRefused(f"transformers has no head like that of this version: {head}; use --format onnx")
    mode, width = POOLINGS[config.pooling], config.width
    pooling = {"word_embedding_dimension": width}
    pooling |= {f"pooling_mode_{flag}": name == mode for name, flag in FLAGS.items()}
    values: dict[str, Any] = {
        "sentence_bert_config.json": {"max_seq_length": config.context_length, "do_lower_case": False},
        "1_Pooling/config.json": pooling,
    }
    if config.task == "embedding":
        return Modules(values | {MODULES: _listed("", "1_Pooling", "2_Normalize")})
    weight, bias = last_layer(version)
    values["2_Dense/config.json"] = {
        "in_features": width, "out_features": len(weight), "bias": True, "activation_function": IDENTITY,
    }  # fmt: skip
    dense = {"linear.weight": weight, "linear.bias": bias}
    return Modules(values | {MODULES: _listed("", "1_Pooling", "2_Dense")}, {"2_Dense/model.safetensors": dense})


def _listed(*paths: str) -> list[dict[str, Any]]:
    """Return the list of modules. The first module is the network, in the main folder."""
    return [
        {"idx": index, "name": str(index), "path": path, "type": f"{PACKAGE}.{path[2:] or 'Transformer'}"}
        for index, path in enumerate(paths)
    ]
