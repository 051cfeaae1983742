"""Adds the layers of an RNN, an LSTM or a GRU to a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.exporting.onnx import messages
from app.exporting.onnx.graph import Graph
from app.exporting.onnx.inputs import Padding
from app.exporting.source_version import SourceVersion
from app.importing.pytorch.tensors import Array

OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
# ONNX orders the gates of an LSTM as input, output, forget, cell, and those of a GRU as update, reset, new.
GATES = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


def recurrent_hidden(graph: Graph, version: SourceVersion, x: str, padding: Padding) -> str:
    """Return the hidden vectors (B, T, D) from the vectors that the body reads."""
    lengths = graph.add("Cast", padding.lengths, to=messages.INT32)
    x = graph.add("Transpose", x, perm=[1, 0, 2])
    for layer in range(version.config.layers):
        x = _layer(graph, version, layer, x, lengths)
    return graph.add("Transpose", x, perm=[1, 0, 2])


def _layer(graph: Graph, version: SourceVersion, layer: int, x: str, lengths: str) -> str:
    """Compute one layer, in one or both directions: (T, B, D) to (T, B, D)."""
    config, weights = version.config, version.tensors
    directions = ("", "_reverse") if config.bidirectional else ("",)

    def stacked(*kinds: str) -> str:
        of_directions = [
            np.concatenate([_ordered(weights[f"body.rnn.{kind}_l{layer}{end}"], config.architecture) for kind in kinds])
            for end in directions
        ]
        return graph.constant(np.stack(of_directions), kinds[0])

    attributes: dict[str, Any] = {"hidden_size": config.width}
    attributes["direction"] = "bidirectional" if config.bidirectional else "forward"
    if config.architecture == "gru":
        attributes["linear_before_reset"] = 1
    if config.architecture == "rnn":
        attributes["activations"] = [config.nonlinearity.capitalize()] * len(directions)
    inputs = [x, stacked("weight_ih"), stacked("weight_hh"), stacked("bias_ih", "bias_hh"), lengths]
    outputs = graph.add(OPERATORS[config.architecture], *inputs, **attributes)  # (T, directions, B, width)
    joined = graph.add("Transpose", outputs, perm=[0, 2, 1, 3])
    return graph.add("Reshape", joined, graph.integers(0, 0, config.width * len(directions)))


def _ordered(value: Array, architecture: str) -> Array:
    gates = GATES[architecture]
    blocks = np.split(value, len(gates))
    return np.concatenate([blocks[gate] for gate in gates])
