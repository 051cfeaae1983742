"""Reads the Dense layers at the end of a Keras model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from app.importing.keras.layers import KerasLayer, shown, unsupported, unsupported_layer
from app.importing.keras.sources import FORWARD, KerasFile, shapes_of
from app.importing.pytorch.parts import Layer
from app.importing.pytorch.tensors import ForeignFileInvalid

# Keras's names of functions -> ours. The function leaky_relu has another slope in Keras, so it is not in this table.
FUNCTIONS = {
    None: "none", "linear": "none", "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "gelu": "gelu",
    "silu": "silu", "swish": "silu", "elu": "elu", "softmax": "softmax",
}  # fmt: skip
PLAIN_RELU = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """A Dense layer and the function that follows it."""

    linear: Layer
    function: str


def read_head(layers: list[KerasLayer], file: KerasFile) -> list[HeadLayer]:
    """Return the Dense layers among `layers`, each with the function of a layer that follows it, if there is one.

    Raises UnknownNetwork for a layer that our networks do not compute exactly.
    """
    head: list[HeadLayer] = []
    for layer in layers:
        if layer.kind == "Dense":
            head.append(HeadLayer(_linear(layer, file), _function(layer, layer.settings.get("activation"))))
        elif layer.kind in ("Activation", "ReLU", "Softmax"):
            if not head or head[-1].function != "none":
                raise unsupported(f"{layer} must follow a Dense layer without an activation")
            head[-1] = replace(head[-1], function=_function_of(layer))
        else:
            raise unsupported_layer(layer)
    if not head:
        raise unsupported("it does not end with a Dense layer")
    return head


def _function_of(layer: KerasLayer) -> str:
    if layer.kind == "Activation":
        return _function(layer, layer.settings.get("activation"))
    if layer.kind == "Softmax":
        if layer.settings.get("axis", -1) not in (-1, 1):
            raise unsupported(f"{layer} must have axis=-1")
        return "softmax"
    if any((layer.settings.get(name, right) or None) != (right or None) for name, right in PLAIN_RELU.items()):
        raise unsupported(f"{layer} must have no max_value, no negative_slope and no threshold")
    return "relu"


def _function(layer: KerasLayer, name: Any) -> str:
    if not isinstance(name, str | None) or name not in FUNCTIONS:
        description = f"'{shown(name)}'" if isinstance(name, str) else "that is an object"
        names = ", ".join(str(function) for function in FUNCTIONS if function)
        raise unsupported(f"{layer} has the activation {description}; it must be one of {names}")
    return FUNCTIONS[name]


def _linear(layer: KerasLayer, file: KerasFile) -> Layer:
    weights = file.read(layer).get(FORWARD, {})
    kernel, bias = weights.get("kernel"), weights.get("bias")
    wrong = kernel is None or kernel.ndim != 2 or not kernel.size
    wrong = wrong or (bias is not None and bias.shape != kernel.shape[1:])  # type: ignore[union-attr]
    if wrong or (bias is None and layer.settings.get("use_bias", True)) or len(weights) > 2:
        raise ForeignFileInvalid(f"the weights of {layer} are not a kernel and a bias: {shapes_of(weights)}")
    assert kernel is not None
    return Layer(shown(layer.name), kernel.T.copy(), bias)
