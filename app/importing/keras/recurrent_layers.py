"""Checks the settings of Keras's recurrent layers, and converts their weights to the layout of PyTorch.

Both order the gates of an LSTM as i, f, g, o. Keras orders those of a GRU as z, r, n; PyTorch as r, z, n.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.importing.keras.layers import KerasLayer, read_layer, shown, unsupported, unsupported_layer
from app.importing.keras.sources import BACKWARD, FORWARD, KerasFile, NamedWeights, shapes_of
from app.importing.pytorch.tensors import Array, ForeignFileInvalid, Tensors
from models.parameters import GATES

ARCHITECTURES = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn"}
ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "rnn": (0,)}  # for each of PyTorch's gates, its number in Keras
FORBIDDEN = {  # settings that change the results, and what would be right
    "go_backwards": "the network must read texts from their first step; use Bidirectional for both directions",
    "stateful": "each text is read from a state of zeros; save the model with stateful=False",
    "return_state": "only the output can be used; build the model with return_state=False",
    "time_major": "the first dimension must be the batch; build the model with time_major=False",
}


@dataclass(frozen=True, slots=True)
class DirectionWeights:
    """The weights of one direction: (gates, units, inputs), (gates, units, units), and twice (gates, units)."""

    read: Array
    recur: Array
    read_bias: Array
    recur_bias: Array


@dataclass(frozen=True, slots=True)
class RecurrentLayer:
    """A recurrent layer. `sequences` says whether it returns an output for every step."""

    layer: KerasLayer
    architecture: str
    nonlinearity: str
    units: int
    sequences: bool
    directions: Mapping[str, DirectionWeights]

    @property
    def outputs(self) -> int:
        return self.units * len(self.directions)


def is_recurrent(layer: KerasLayer) -> bool:
    return layer.kind in ARCHITECTURES or layer.kind == "Bidirectional"


def read_recurrent(layer: KerasLayer, file: KerasFile) -> RecurrentLayer:
    """Return a recurrent layer with its weights.

    Raises UnknownNetwork for a layer that our networks do not compute exactly.
    """
    cell = layer
    if layer.kind == "Bidirectional":
        cell = _cell_of(layer)
    if cell.kind not in ARCHITECTURES:
        raise unsupported_layer(cell)
    architecture = ARCHITECTURES[cell.kind]
    nonlinearity = _check_settings(layer, cell)
    units = cell.settings.get("units")
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        raise unsupported(f"{layer} must have a positive integer as units")
    names = (FORWARD, BACKWARD) if cell is not layer else (FORWARD,)
    weights = file.read(layer)
    directions = {name: _direction(layer, cell, architecture, units, weights.get(name, {})) for name in names}
    sequences = cell.settings.get("return_sequences") is True
    return RecurrentLayer(layer, architecture, nonlinearity, units, sequences, directions)


def _cell_of(layer: KerasLayer) -> KerasLayer:
    """Return the layer that a Bidirectional applies in both directions."""
    if layer.settings.get("merge_mode", "concat") != "concat":
        raise unsupported(f"{layer} has merge_mode='{shown(layer.settings['merge_mode'])}'; it must be 'concat'")
    cell = read_layer(layer.settings.get("layer"))
    if (other := layer.settings.get("backward_layer")) is not None:
        back = read_layer(other)
        same = [name for name in ("units", "activation", "recurrent_activation", "reset_after", "return_sequences")]
        if back.kind != cell.kind or any(back.settings.get(n) != cell.settings.get(n) for n in same):
            raise unsupported(f"{layer} has different layers for its two directions")
        if back.settings.get("go_backwards") is not True:
            raise unsupported(f"{layer} has a backward_layer that does not read backwards")
    return cell


def _check_settings(layer: KerasLayer, cell: KerasLayer) -> str:
    """Check the settings of a cell, and return its nonlinearity, which only a SimpleRNN can choose."""
    for name, right in FORBIDDEN.items():
        if cell.settings.get(name):
            raise unsupported(f"{layer} has {name}=True, but {right}")
    activation = cell.settings.get("activation", "tanh")
    allowed = ("tanh", "relu") if cell.kind == "SimpleRNN" else ("tanh",)
    if activation not in allowed:
        raise unsupported(f"{layer} has the activation {_function_name(activation)}; it must be {' or '.join(allowed)}")
    gates = cell.settings.get("recurrent_activation", "hard_sigmoid")
    if cell.kind != "SimpleRNN" and gates != "sigmoid":
        raise unsupported(
            f"{layer} has the recurrent_activation {_function_name(gates)}, which the service does not compute; it "
            "must be sigmoid, so the model must be trained again with recurrent_activation='sigmoid'"
        )
    if cell.kind == "GRU" and cell.settings.get("reset_after") is not True:
        raise unsupported(
            f"{layer} has reset_after=False, which multiplies by the reset gate in another place than the service; it "
            "must be trained again with reset_after=True"
        )
    return str(activation)


def _function_name(value: Any) -> str:
    return f"'{shown(value)}'" if isinstance(value, str) else "that is an object"


def _direction(
    layer: KerasLayer, cell: KerasLayer, architecture: str, units: int, weights: NamedWeights
) -> DirectionWeights:
    """Convert the weights of one direction. Raises ForeignFileInvalid if their shapes do not fit."""
    gates = GATES[architecture]
    kernel, recurrent, bias = (weights.get(name) for name in ("kernel", "recurrent_kernel", "bias"))
    rows = 2 if architecture == "gru" else 1
    fit = kernel is not None and kernel.ndim == 2 and kernel.shape[1] == gates * units
    fit = fit and recurrent is not None and recurrent.shape == (units, gates * units)
    if fit and bias is None and cell.settings.get("use_bias", True) is not True:
        bias = np.zeros((rows, gates * units), np.float32)  # after the check of `units`, which comes from the file
    if not fit or bias is None or bias.size != rows * gates * units:
        raise ForeignFileInvalid(f"the weights of {layer} do not fit {units} units: {shapes_of(weights)}")
    assert kernel is not None and recurrent is not None
    order = list(ORDER[architecture])
    biases = np.zeros((2, gates, units), np.float32)
    biases[:rows] = bias.reshape(rows, gates, units)

    def split(matrix: Array) -> Array:
        return matrix.T.reshape(gates, units, -1)[order]

    return DirectionWeights(split(kernel), split(recurrent), biases[0][order], biases[1][order])


def stack(layers: Iterable[RecurrentLayer]) -> Tensors:
    """Return the weights of layers that are applied one after another, under the names of `torch.nn.LSTM`.

    All layers get the width and the directions of the largest. Added units have weights of zero: their output is
    always 0.
    """
    layers = list(layers)
    width, both = width_of(layers)
    tensors: Tensors = {}
    inputs: Array | None = None
    for number, layer in enumerate(layers):
        for suffix, name in (("", FORWARD), *((("_reverse", BACKWARD),) if both else ())):
            columns = width * (1 + both) if inputs is not None else next(iter(layer.directions.values())).read.shape[2]
            new = _widen(layer.directions.get(name), width, columns, inputs, GATES[layer.architecture])
            tensors |= {f"body.rnn.{part}_l{number}{suffix}": array for part, array in new.items()}
        inputs = places(layer, width)
    return tensors


def widened_bytes(layers: list[RecurrentLayer], outputs: int) -> int:
    """Return the size of the arrays that `stack` creates, and of a matrix that turns their output into `outputs`."""
    width, both = width_of(layers)
    rows = GATES[layers[0].architecture] * width
    columns = int(layers[0].directions[FORWARD].read.shape[2]) + (len(layers) - 1) * width * (1 + both)
    return 4 * (1 + both) * (rows * (columns + len(layers) * (width + 2)) + outputs * width)


def width_of(layers: list[RecurrentLayer]) -> tuple[int, bool]:
    """Return the width of the widest layer, and whether any layer reads in both directions."""
    return max(layer.units for layer in layers), any(len(layer.directions) > 1 for layer in layers)


def places(layer: RecurrentLayer, width: int) -> Array:
    """Return the places of a layer's outputs among the outputs of a layer of `width` units for each direction."""
    return np.concatenate([np.arange(layer.units) + width * number for number in range(len(layer.directions))])


def _widen(part: DirectionWeights | None, width: int, columns: int, inputs: Any, gates: int) -> Tensors:
    """Return the matrices and biases of one direction, with `width` units and `columns` inputs.

    `inputs` contains the places of the layer's inputs; None: the layer reads all of its inputs.
    """
    read = np.zeros((gates, width, columns), np.float32)
    recur = np.zeros((gates, width, width), np.float32)
    biases = np.zeros((2, gates, width), np.float32)
    if part is not None:
        units = part.recur.shape[1]
        chosen = np.arange(columns) if inputs is None else inputs
        if part.read.shape[2] != len(chosen):
            raise ForeignFileInvalid("a recurrent layer does not read as many numbers as the layer before it returns")
        read[:, :units, chosen] = part.read
        recur[:, :units, :units] = part.recur
        biases[0, :, :units], biases[1, :, :units] = part.read_bias, part.recur_bias
    return {
        "weight_ih": read.reshape(-1, columns),
        "weight_hh": recur.reshape(-1, width),
        "bias_ih": biases[0].reshape(-1),
        "bias_hh": biases[1].reshape(-1),
    }
