"""Assembles a network from the layers of a Keras model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.importing.keras.chain import read_layers
from app.importing.keras.heads import read_head
from app.importing.keras.layers import KerasLayer, shown, unsupported, unsupported_layer
from app.importing.keras.outputs import add_head
from app.importing.keras.padding import ask_padding, input_length, output_length, set_length
from app.importing.keras.recurrent_layers import (
    RecurrentLayer,
    is_recurrent,
    read_recurrent,
    stack,
    widened_bytes,
    width_of,
)
from app.importing.keras.sources import FORWARD, KerasFile, open_keras
from app.importing.keras.vectorization import KIND, read_tokenizer
from app.importing.pytorch.network import POOLINGS as POOLED
from app.importing.pytorch.network import InferredNetwork
from app.importing.pytorch.tensors import ForeignFileInvalid, Tensors
from app.importing.questions import Answers
from app.tokenization.tokenizer import Tokenizer
from app.wording import quantity

IGNORED = (  # layers that only act during training
    "InputLayer", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "AlphaDropout",
    "ActivityRegularization",
)  # fmt: skip
MOST_RECURRENT = 16  # all layers get the width of the widest, so their number limits the size of a version
POOLINGS = {"GlobalAveragePooling1D": "mean", "GlobalMaxPooling1D": "max"}


@dataclass(frozen=True, slots=True)
class KerasModel:
    """A converted model. `masked` says whether the model skips the steps with the token id 0.

    `tokenizer` is that of the model's TextVectorization, if it has one.
    """

    network: InferredNetwork
    masked: bool
    tokenizer: Tokenizer | None = None


def read_model(path: Path, answers: Answers) -> KerasModel:
    """Convert a Keras model. Raises UnknownNetwork for a model whose results our networks cannot compute exactly."""
    with open_keras(path) as file:
        if file.config_file is not None:
            answers.assumed.append(f"configuration={shown(file.config_file)}: the file beside the weights")
        layers = read_layers(file.config)
        length = input_length(layers)
        used = [layer for layer in layers if layer.kind not in IGNORED]
        splitter = used.pop(0) if used and used[0].kind == KIND else None
        tokenizer = None
        if splitter is not None:
            tokenizer, length = read_tokenizer(splitter, file), output_length(splitter)
        if not used or used[0].kind != "Embedding":
            raise unsupported("its first layer must be an Embedding, which reads token ids")
        embedding, rest = used[0], used[1:]
        body = [layer for layer in rest if is_recurrent(layer)]
        if not body or rest[: len(body)] != body:
            raise _misplaced(rest)
        if len(body) > MOST_RECURRENT:
            raise unsupported(f"it has {len(body)} recurrent layers; the limit is {MOST_RECURRENT}")
        recurrent = [read_recurrent(layer, file) for layer in body]
        _check_stack(recurrent)
        rest = rest[len(body) :]
        pooling = _pooling(recurrent, rest[:1])
        head = read_head(rest[pooling != "last" :], file)
        file.weights.reserve(widened_bytes(recurrent, head[0].linear.outputs), "the network with layers of one width")
        tensors, fields = _body(embedding, recurrent, file, answers)
    masked = embedding.settings.get("mask_zero") is True
    fields["pooling"] = pooling
    parts = [f"tokens, {shown(embedding.name)} {fields['vocab_size']}×{fields['input_width']}", _shown(recurrent)]
    parts.append(POOLED["last_step" if pooling == "last" and not fields["bidirectional"] else pooling])
    parts += add_head(fields, tensors, recurrent[-1], head, answers)
    ask_padding(masked, pooling, length, splitter, answers)
    set_length(fields, length, splitter, answers)
    return KerasModel(InferredNetwork(fields, tensors, " → ".join(parts)), masked, tokenizer)


def _misplaced(rest: list[KerasLayer]) -> Exception:
    """Return the error for a model whose recurrent layers do not follow its embedding."""
    other = next((layer for layer in rest if not is_recurrent(layer)), None)
    if other is None or other.kind in (*POOLINGS, "Dense", "Activation"):
        return unsupported("LSTM, GRU or SimpleRNN layers must follow its embedding")
    return unsupported_layer(other)


def _check_stack(recurrent: list[RecurrentLayer]) -> None:
    """Raise UnknownNetwork unless all layers are of one kind, and each layer reads all steps of the one before it."""
    first, last = recurrent[0], recurrent[-1]
    for layer in recurrent:
        if (layer.architecture, layer.nonlinearity) != (first.architecture, first.nonlinearity):
            raise unsupported(f"{first.layer} and {layer.layer} are recurrent layers of different kinds")
        if layer is not last and not layer.sequences:
            raise unsupported(f"{layer.layer} must have return_sequences=True, because a recurrent layer follows it")


def _pooling(recurrent: list[RecurrentLayer], after: list[KerasLayer]) -> str:
    """Return the pooling between the recurrent layers and the head. Raises UnknownNetwork if there is another part."""
    last = recurrent[-1]
    kind = after[0].kind if after else ""
    if not last.sequences:
        if kind in POOLINGS:
            raise unsupported(f"{after[0]} must follow a layer with return_sequences=True")
        return "last"
    if kind not in POOLINGS:
        if after and kind not in ("Dense", "Activation"):
            raise unsupported_layer(after[0])
        raise unsupported(
            f"{last.layer} has return_sequences=True, so the model has an output for every step; the head must read "
            "the last step (return_sequences=False), GlobalAveragePooling1D or GlobalMaxPooling1D"
        )
    if after[0].settings.get("data_format", "channels_last") != "channels_last" or after[0].settings.get("keepdims"):
        raise unsupported(f"{after[0]} must have data_format='channels_last' and keepdims=False")
    return POOLINGS[kind]


def _body(
    embedding: KerasLayer, recurrent: list[RecurrentLayer], file: KerasFile, answers: Answers
) -> tuple[Tensors, dict[str, Any]]:
    """Return the weights and the fields of the embedding and the recurrent layers."""
    weights = file.read(embedding).get(FORWARD, {})
    table = weights.get("embeddings")
    if table is None or len(weights) > 1 or table.ndim != 2 or not table.size:
        raise ForeignFileInvalid(f"the weights of {embedding} are not one table of vectors")
    width, both = width_of(recurrent)
    sizes = [layer.units for layer in recurrent]
    if min(sizes) < width or any(len(layer.directions) < 1 + both for layer in recurrent):
        answers.assumed.append(
            f"width={width}: all recurrent layers get {quantity(width, 'unit')}"
            f"{' for each of two directions' if both else ''}; the output of added units is always 0, so the results "
            "are the same"
        )
    fields: dict[str, Any] = {
        "architecture": recurrent[0].architecture, "layers": len(recurrent), "width": width, "bidirectional": both,
        "input": "tokens", "vocab_size": len(table), "input_width": table.shape[1], "tie_embeddings": False,
        "head_bias": True, "dropout": 0.0,
    }  # fmt: skip
    if recurrent[0].architecture == "rnn":
        fields["nonlinearity"] = recurrent[0].nonlinearity
    return {"input.embedding.weight": table, **stack(recurrent)}, fields


def _shown(recurrent: list[RecurrentLayer]) -> str:
    """Describe the recurrent layers."""
    kind = recurrent[0].architecture.upper()
    parts = [recurrent[0].nonlinearity] if kind == "RNN" else []
    return f"{kind} ({', '.join([*parts, *map(_part, recurrent)])}, from a state of zeros)"


def _part(layer: RecurrentLayer) -> str:
    return f"{'both directions of ' if len(layer.directions) > 1 else ''}'{shown(layer.layer.name)}' of {layer.units}"
