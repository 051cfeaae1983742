"""The inputs of an exported graph: tokens or numbers, and the mask that marks padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.exporting.onnx import messages
from app.exporting.onnx.graph import Graph
from app.exporting.source_version import SourceVersion

BATCH, STEPS = "batch", "steps"


@dataclass(frozen=True, slots=True)
class Padding:
    """The number of steps T, the length of each row (B), and a mask (B, T) that is true for real steps."""

    steps: str
    lengths: str
    real: str


def add_inputs(graph: Graph, version: SourceVersion) -> tuple[str, Padding]:
    """Declare the inputs. Returns the vectors (B, T, D) that the body reads, before positions are added, and the
    padding.
    """
    config = version.config
    if config.input == "tokens":
        input_ = graph.input("input_ids", messages.INT64, BATCH, STEPS)
    else:
        input_ = graph.input("features", messages.TYPES[version.number_type], BATCH, STEPS, config.features)
    mask = graph.input("attention_mask", messages.INT64, BATCH, STEPS)
    padding = add_padding(graph, input_, graph.add("ReduceSum", mask, graph.integers(1), keepdims=0))
    return (_tokens if config.input == "tokens" else _numbers)(graph, version, input_), padding


def add_padding(graph: Graph, input_: str, lengths: str) -> Padding:
    """Compute the padding of an input (B, T, …) whose rows have these lengths (B)."""
    steps = graph.size(input_, 1)
    real = graph.add("Less", graph.span(steps), graph.add("Unsqueeze", lengths, graph.integers(1)))
    return Padding(steps, lengths, real)


def _tokens(graph: Graph, version: SourceVersion, ids: str) -> str:
    weights, config = version.tensors, version.config
    vectors = graph.add("Gather", graph.constant(weights["input.embedding.weight"], "embedding"), ids, axis=0)
    if not config.token_types:
        return vectors
    ends = graph.add("Cast", graph.add("Equal", ids, graph.number(config.separator_id)), to=messages.INT64)
    before = graph.add("CumSum", ends, graph.number(1), exclusive=1)
    parts = graph.add("Min", before, graph.number(config.token_types - 1))
    types = graph.add("Gather", graph.constant(weights["input.types.weight"], "types"), parts, axis=0)
    return graph.add("Add", vectors, types)


def _numbers(graph: Graph, version: SourceVersion, steps: str) -> str:
    """Standardise the steps, and project them if the network has a projection."""
    weights, config = version.tensors, version.config
    if scales := version.raw.get("normalization"):
        dtype = version.number_type
        steps = graph.add("Sub", steps, graph.constant(np.array(scales["mean"], dtype), "mean"))
        steps = graph.add("Div", steps, graph.constant(np.array(scales["std"], dtype), "std"))
        steps = graph.add("Cast", steps, to=messages.FLOAT)
    if not config.projected:
        return steps
    projected = graph.linear(steps, weights["input.projection.weight"], weights["input.projection.bias"])
    return graph.activation(config.input_activation, projected)
