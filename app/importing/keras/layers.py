"""Reads the layers of a model from its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.importing.pytorch.parts import UnknownNetwork

MOST_LAYERS = 256
NAME_LIMIT = 100  # characters of a name from a file in a message
MASK = "NotEqual"  # with mask_zero, Keras 3 stores the comparison of the ids with 0 as an operation of its own
EXECUTABLE = ("Lambda", "PyDataset", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer")
# What to do instead, for layers that classifiers often have.
ADVICE: Mapping[str, str] = {
    "BatchNormalization": "train the model without it, or fold it into the next Dense layer",
    "LayerNormalization": "train the model without it",
    "Conv1D": "train the model without convolutions",
    "Flatten": "use return_sequences=False, GlobalAveragePooling1D or GlobalMaxPooling1D",
    "TimeDistributed": "use return_sequences=False, GlobalAveragePooling1D or GlobalMaxPooling1D",
    "RNN": "use LSTM, GRU or SimpleRNN",
    "CuDNNLSTM": "build the same model with LSTM in Keras 2, which converts the weights when it loads them",
    "CuDNNGRU": "build the same model with GRU in Keras 2, which converts the weights when it loads them",
    "Masking": "leave it out, and do not pad the sequences",
}


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """One layer: its class, its name, its settings, and the name of its group in the weights files of Keras 3."""

    kind: str
    name: str
    settings: Mapping[str, Any]
    key: str

    def __str__(self) -> str:
        return f"the layer '{shown(self.name)}' ({shown(self.kind)})"


def shown(name: object) -> str:
    """Return a name from a file for a message: without control characters, and not longer than NAME_LIMIT."""
    return repr(str(name)[:NAME_LIMIT])[1:-1][:NAME_LIMIT]


def unsupported(reason: str) -> UnknownNetwork:
    """Return the error for a network that cannot be imported."""
    return UnknownNetwork(reason, [], {})


def unsupported_layer(layer: KerasLayer) -> UnknownNetwork:
    """Return the error for a layer of an unsupported class."""
    if layer.kind in EXECUTABLE:
        return unsupported(f"{layer} contains code, which is never run; save a model without it")
    if "Attention" in layer.kind:
        return unsupported(f"{layer}: attention layers cannot be imported; use GlobalAveragePooling1D")
    advice = f"; {ADVICE[layer.kind]}" if layer.kind in ADVICE else ""
    return unsupported(f"{layer} cannot be imported{advice}")


def read_entries(model: Any) -> tuple[bool, list[KerasLayer], list[Any]]:
    """Return whether a model is Sequential, its layers, and their entries in the configuration, in the same order.

    `model` is the parsed configuration. Raises UnknownNetwork unless the model is Sequential or functional.
    """
    kind = model.get("class_name") if isinstance(model, dict) else None
    settings = model.get("config") if isinstance(model, dict) else None
    if isinstance(settings, list):  # Sequential, as saved by Keras before 2.2.3
        settings = {"layers": settings}
    entries = settings.get("layers") if isinstance(settings, dict) else None
    if kind not in ("Sequential", "Functional", "Model") or not isinstance(entries, list) or not entries:
        raise unsupported(f"its configuration describes a '{shown(kind)}', not a Sequential or functional model")
    if len(entries) > MOST_LAYERS or not all(_is_layer(entry) for entry in entries):
        raise unsupported(f"its configuration must list at most {MOST_LAYERS} layers, each with a class and a config")
    return kind == "Sequential", list(_number(entries)), entries


def read_layer(entry: Any, key: str = "") -> KerasLayer:
    """Return a layer, given its entry in the configuration. Raises UnknownNetwork for a class that is not Keras's."""
    if not _is_layer(entry):
        raise unsupported("its configuration has a layer without a class or a config")
    settings = entry["config"]
    layer = KerasLayer(entry["class_name"], str(settings.get("name", entry.get("name", key))), settings, key)
    registered, module = entry.get("registered_name"), entry.get("module")
    own = registered in (None, layer.kind) and (module is None or str(module).split(".")[0] == "keras")
    if not own or ">" in layer.kind:
        raise unsupported(f"{layer} is a custom object, whose code is not in the file and is never run")
    return layer


def _is_layer(entry: Any) -> bool:
    return (
        isinstance(entry, dict) and isinstance(entry.get("class_name"), str) and isinstance(entry.get("config"), dict)
    )


def _number(entries: list[Any]) -> Iterator[KerasLayer]:
    """Yield layers with their keys: layers of one class are numbered in the order of the configuration."""
    counts: dict[str, int] = {}
    for entry in entries:
        snake = _snake_case(entry["class_name"])
        count = counts[snake] = counts.get(snake, -1) + 1
        yield _operation(entry) or read_layer(entry, f"{snake}_{count}" if count else snake)


def _snake_case(name: str) -> str:
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _operation(entry: Any) -> KerasLayer | None:
    """Return the comparison that finds padding, or None for any other entry."""
    return KerasLayer(MASK, str(entry.get("name")), {}, "") if entry["class_name"] == MASK else None
