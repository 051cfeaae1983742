"""Converts the bodies of BERT, RoBERTa and DistilBERT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.importing.huggingface.parts import ForeignBody, joined, moved, table
from app.importing.huggingface.source_config import SourceConfig
from app.importing.pytorch.tensors import ForeignFileInvalid, Tensors

ACTIVATIONS = {"gelu": "gelu", "gelu_python": "gelu", "relu": "relu"}


@dataclass(frozen=True, slots=True)
class EncoderNames:
    """The names of an encoder's tensors.

    `parts` maps the names of a layer's parts, except for queries, keys and values, to our names.

    `first` is the row of the position table for the first token of a text.
    """

    layer: str
    queries_keys_values: tuple[str, str, str]
    parts: Mapping[str, str]
    first: Callable[[SourceConfig], int]


BERT = EncoderNames(
    "encoder.layer",
    ("attention.self.query", "attention.self.key", "attention.self.value"),
    {
        "attention.output.dense": "attention.out",
        "attention.output.LayerNorm": "norm_attention",
        "intermediate.dense": "mlp.up",
        "output.dense": "mlp.down",
        "output.LayerNorm": "norm_mlp",
    },
    lambda config: 0,
)
# In RoBERTa, the row of the first token is the padding token's id plus 1.
ROBERTA = EncoderNames(BERT.layer, BERT.queries_keys_values, BERT.parts, lambda config: _padding(config) + 1)
DISTILBERT = EncoderNames(
    "transformer.layer",
    ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    {
        "attention.out_lin": "attention.out",
        "sa_layer_norm": "norm_attention",
        "ffn.lin1": "mlp.up",
        "ffn.lin2": "mlp.down",
        "output_layer_norm": "norm_mlp",
    },
    lambda config: 0,
)


def read_bert(config: SourceConfig, tensors: Tensors) -> ForeignBody:
    """Convert the body of a BERT model, such as MiniLM."""
    return _read(BERT, _common(config), config, tensors)


def read_roberta(config: SourceConfig, tensors: Tensors) -> ForeignBody:
    """Convert the body of a RoBERTa model, such as XLM-RoBERTa."""
    return _read(ROBERTA, _common(config), config, tensors)


def read_distilbert(config: SourceConfig, tensors: Tensors) -> ForeignBody:
    """Convert the body of a DistilBERT model."""
    config.get("sinusoidal_pos_embds")  # has no effect: the file contains the position table in either case
    fields = {
        "layers": config.count("n_layers", "num_hidden_layers"),
        "width": config.count("dim", "hidden_size"),
        "heads": config.count("n_heads", "num_attention_heads"),
        "inner": config.count("hidden_dim", "intermediate_size"),
        "activation": config.choice("activation", options=ACTIVATIONS, default="gelu"),
        "norm_eps": 1e-12,
        "dropout": config.number("dropout", default=0.1),
    }
    return _read(DISTILBERT, fields, config, tensors)


def _common(config: SourceConfig) -> dict[str, Any]:
    config.expect("position_embedding_type", "absolute", None)
    config.expect("embedding_size", config.values.get("hidden_size"), None)
    return {
        "layers": config.count("num_hidden_layers"),
        "width": config.count("hidden_size"),
        "heads": config.count("num_attention_heads"),
        "inner": config.count("intermediate_size"),
        "activation": config.choice("hidden_act", options=ACTIVATIONS, default="gelu"),
        "norm_eps": config.number("layer_norm_eps", default=1e-12),
        "dropout": config.number("hidden_dropout_prob", default=0.1),
    }


def _padding(config: SourceConfig) -> int:
    """Return the id of the padding token. Raises ForeignFileInvalid if it is not an integer of 0 or more."""
    padding = config.get("pad_token_id", default=1)
    if type(padding) is not int or padding < 0:
        raise ForeignFileInvalid("pad_token_id in config.json must be an integer of 0 or more")
    return padding


def _read(names: EncoderNames, fields: dict[str, Any], config: SourceConfig, tensors: Tensors) -> ForeignBody:
    """Remove the body's tensors from `tensors`, and return them under our names."""
    for key in ("vocab_size", "max_position_embeddings", "type_vocab_size", "tie_word_embeddings"):
        config.get(key)  # the shapes of the tensors determine the sizes; the heads that are imported are never tied
    tensors.pop("embeddings.position_ids", None)
    tensors.pop("embeddings.token_type_ids", None)
    width, first = fields["width"], names.first(config)
    words = table(tensors, "embeddings.word_embeddings.weight", width)
    positions = table(tensors, "embeddings.position_embeddings.weight", width)[first:]
    weights = {"input.embedding.weight": words}
    if "embeddings.token_type_embeddings.weight" in tensors:
        weights["input.types.weight"] = table(tensors, "embeddings.token_type_embeddings.weight", width)
    weights["body.positions.weight"] = positions
    weights |= moved(tensors, {"embeddings.LayerNorm": "body.norm_input"})
    for layer in range(fields["layers"]):
        theirs, ours = f"{names.layer}.{layer}", f"body.blocks.{layer}"
        for kind in ("weight", "bias"):
            parts = [f"{theirs}.{part}.{kind}" for part in names.queries_keys_values]
            weights[f"{ours}.attention.qkv.{kind}"] = joined(tensors, parts)
        weights |= moved(tensors, {f"{theirs}.{part}": f"{ours}.{name}" for part, name in names.parts.items()})
    fields |= {
        "architecture": "transformer", "input": "tokens", "vocab_size": len(words), "context_length": len(positions),
        "norm": "layer", "norm_first": False, "final_norm": False, "input_norm": True, "positions": "learned",
        "bias": True, "tie_embeddings": False,
    }  # fmt: skip
    return ForeignBody(fields, weights)
