"""Adds the part after the body to a graph: pooling, the head and the outputs."""

from __future__ import annotations

from app.exporting.onnx import messages
from app.exporting.onnx.graph import Graph
from app.exporting.onnx.inputs import BATCH, Padding
from app.exporting.onnx.transformer_graph import layer_norm
from app.exporting.source_version import SourceVersion
from models.parameters import body_width

SMALL = 1e-12  # the minimum divisor when a vector is scaled to length 1
LARGE = 1e30  # -LARGE stands for minus infinity, and replaces the values and scores of padding


def add_outputs(graph: Graph, version: SourceVersion, hidden: str, padding: Padding) -> None:
    """Add the outputs of the version's task.

    The outputs are `embedding` for embeddings, `value` for regression, and otherwise `logits` and `probabilities`.
    """
    config, weights = version.config, version.tensors
    if config.output_norm == "steps":
        hidden = layer_norm(graph, hidden, "norm", weights, config)
    vector = _pooled(graph, version, hidden, padding)
    if config.task == "embedding":
        length = graph.add("ReduceL2", vector, axes=[1], keepdims=1)
        unit = graph.add("Div", vector, graph.add("Max", length, graph.constant(SMALL)))
        graph.output("embedding", unit, BATCH, body_width(config))
        return
    outputs = _calibrated(graph, version, _head(graph, version, vector))
    if config.task == "regression":
        graph.output("value", outputs, BATCH, 1, type_=messages.DOUBLE)
        return
    graph.output("logits", outputs, BATCH, config.classes)
    softmax = config.task == "classification"
    shares = graph.add("Softmax", outputs, axis=1) if softmax else graph.add("Sigmoid", outputs)
    graph.output("probabilities", shares, BATCH, config.classes)


def _head(graph: Graph, version: SourceVersion, vector: str) -> str:
    config, weights = version.config, version.tensors
    if config.output_norm == "pooled":
        vector = layer_norm(graph, vector, "norm", weights, config)
    vector = graph.activation(config.output_activation, vector)
    for number in range(len(config.head_widths)):
        name = f"head_layers.{number}"
        layer = graph.linear(vector, weights[f"{name}.weight"], weights[f"{name}.bias"])
        vector = graph.activation(config.head_activation, layer)
    if config.head_norm:
        vector = layer_norm(graph, vector, "head_norm", weights, config)
    return graph.linear(vector, weights["head.weight"], weights.get("head.bias"))


def _calibrated(graph: Graph, version: SourceVersion, outputs: str) -> str:
    """Apply the calibration or, for a regression, the scale of the values. Values are float64, as in the service."""
    if version.config.task == "regression":
        outputs = graph.add("Cast", outputs, to=messages.DOUBLE)
    if (calibration := version.calibration) is None:
        return outputs
    scale, bias = calibration
    return graph.add("Add", graph.add("Mul", outputs, graph.constant(scale, "scale")), graph.constant(bias, "offset"))


def _pooled(graph: Graph, version: SourceVersion, hidden: str, padding: Padding) -> str:
    """Return one vector per row, as in `models/pooling.py`."""
    pooling = version.config.pooling
    if pooling == "first":
        return _step(graph, hidden, graph.add("Mul", padding.lengths, graph.number(0)))
    if pooling in ("last", "last_step"):
        return _last(graph, version, hidden, padding)
    real = graph.add("Unsqueeze", padding.real, graph.integers(2))
    if pooling == "max":
        return graph.add("ReduceMax", graph.add("Where", real, hidden, graph.constant(-LARGE)), axes=[1], keepdims=0)
    if pooling == "attention":
        return _attended(graph, version, hidden, real)
    summed = graph.add(
        "ReduceSum", graph.add("Where", real, hidden, graph.constant(0.0)), graph.integers(1), keepdims=0
    )
    lengths = graph.add("Cast", graph.add("Unsqueeze", padding.lengths, graph.integers(1)), to=messages.FLOAT)
    return graph.add("Div", summed, graph.add("Max", lengths, graph.constant(1.0)))


def _attended(graph: Graph, version: SourceVersion, hidden: str, real: str) -> str:
    config, weights = version.config, version.tensors
    read = graph.activation(config.pooling_input_activation, hidden)
    if config.pooling_width:
        layer = graph.linear(read, weights["pooling.hidden.weight"], weights["pooling.hidden.bias"])
        read = graph.activation(config.pooling_activation, layer)
    scores = graph.add("Where", real, graph.linear(read, weights["pooling.query.weight"]), graph.constant(-LARGE))
    shares = graph.add("Softmax", scores, axis=1)
    return graph.add("ReduceSum", graph.add("Mul", shares, hidden), graph.integers(1), keepdims=0)


def _last(graph: Graph, version: SourceVersion, hidden: str, padding: Padding) -> str:
    config = version.config
    last = _step(graph, hidden, graph.add("Sub", padding.lengths, graph.number(1)))
    if not (config.bidirectional and config.recurrent and config.pooling == "last"):
        return last
    half = graph.integers(config.width, config.width)
    forward = graph.split("Split", 2, last, half, axis=1)[0]
    first = _step(graph, hidden, graph.add("Mul", padding.lengths, graph.number(0)))
    return graph.add("Concat", forward, graph.split("Split", 2, first, half, axis=1)[1], axis=1)


def _step(graph: Graph, hidden: str, index: str) -> str:
    """Return the vectors (B, D) at step `index` (B) of each row."""
    return graph.add("GatherND", hidden, graph.add("Unsqueeze", index, graph.integers(1)), batch_dims=1)
