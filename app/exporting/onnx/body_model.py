"""Encodes only the body of a network as an ONNX file, for an engine that computes bodies with another program."""

from __future__ import annotations

from app.exporting.onnx import messages
from app.exporting.onnx.graph import Graph
from app.exporting.onnx.inputs import BATCH, STEPS, Padding, add_padding
from app.exporting.onnx.recurrent_graph import recurrent_hidden
from app.exporting.onnx.transformer_graph import TransformerGraph
from app.exporting.source_version import SourceVersion
from models.parameters import body_width

VECTORS, LENGTHS, HIDDEN = "vectors", "lengths", "hidden"


def body_model(version: SourceVersion, width: int) -> bytes:
    """Encode the body, which reads vectors of `width` numbers.

    The inputs are `vectors` (B, T, width), float32, and `lengths` (B), int64. The output is `hidden` (B, T, D). Its
    values at padding are unspecified.
    """
    graph = Graph()
    x = graph.input(VECTORS, messages.FLOAT, BATCH, STEPS, width)
    lengths = graph.input(LENGTHS, messages.INT64, BATCH)
    hidden = body_hidden(graph, version, x, add_padding(graph, x, lengths))
    graph.output(HIDDEN, hidden, BATCH, STEPS, body_width(version.config))
    return messages.model(graph.parts, {}, "ostinato")


def body_hidden(graph: Graph, version: SourceVersion, x: str, padding: Padding) -> str:
    """Add the layers of the body to a graph, and return the hidden vectors (B, T, D)."""
    if version.config.architecture == "transformer":
        return TransformerGraph(graph, version, padding).hidden(x)
    return recurrent_hidden(graph, version, x, padding)
