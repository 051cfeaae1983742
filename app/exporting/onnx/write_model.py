"""Writes a version as an ONNX file with its tokenizer and labels, for `ostinato export` on the user's machine.

Imports neither torch nor onnx.
"""

from __future__ import annotations

import json
from pathlib import Path

from app.checkpoint import directory as checkpoint
from app.exporting.onnx import messages
from app.exporting.onnx.body_model import body_hidden
from app.exporting.onnx.graph import Graph
from app.exporting.onnx.inputs import add_inputs
from app.exporting.onnx.outputs import add_outputs
from app.exporting.onnx.usage import usage
from app.exporting.source_version import ExportRefused, SourceVersion

FILE, PRODUCER = "model.onnx", "ostinato"
LIMIT = 2**31 - 1  # bytes; a message of protocol buffers cannot be larger
SLACK = 2**20  # bytes of a usual graph without its weights
TOO_LARGE = "an ONNX file can have at most 2 GiB, and this version needs more"


def write_model(version: SourceVersion, target: Path) -> str:
    """Write a version to the new directory `target`, and return the names of its outputs.

    Raises ExportRefused for language models, for classifiers with an n-gram branch, and for networks of more than 2
    GiB.
    """
    _check(version)
    graph = build_graph(version)
    metadata = {"task": version.config.task, "labels": json.dumps(version.labels, ensure_ascii=False)}
    content = messages.model(graph.parts, metadata, PRODUCER)
    if len(content) > LIMIT:  # a long position table can need more than `SLACK`
        raise ExportRefused(TOO_LARGE)
    target.mkdir(parents=True)
    (target / FILE).write_bytes(content)
    if version.tokenizer is not None:
        version.tokenizer.save(target)
    if version.labels:
        checkpoint.write_json(target / "labels.json", version.labels)
    (target / "README.md").write_text(f"{usage(version)}\n{version.card}", encoding="utf-8")
    return ", ".join(output.name for output in graph.parts.outputs)


def build_graph(version: SourceVersion) -> Graph:
    """Build the whole network as a graph of ONNX operations."""
    graph = Graph()
    x, padding = add_inputs(graph, version)
    add_outputs(graph, version, body_hidden(graph, version, x, padding), padding)
    return graph


def _check(version: SourceVersion) -> None:
    config = version.config
    if config.task == "generation":
        remedy = "use --format huggingface" if config.architecture == "transformer" else "use --format checkpoint"
        raise ExportRefused(
            "only classifiers, regressions and encoders for embeddings can be exported to ONNX, not language models; "
            + remedy
        )
    if config.ngram_buckets:
        raise ExportRefused(
            "the n-gram branch of this version reads the characters of a text, which ONNX cannot do; train a network "
            "with --no-ngrams, or fine-tune an imported encoder"
        )
    if sum(tensor.nbytes for tensor in version.tensors.values()) > LIMIT - SLACK:
        raise ExportRefused(TOO_LARGE)
