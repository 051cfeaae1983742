"""A network under our names: a body with its head and input, and the task that they fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.importing.pytorch.parts import Ends, UnknownNetwork
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers, Question


@dataclass(frozen=True, slots=True)
class InferredNetwork:
    """The fields of a `ModelConfig`, and the weights under our names."""

    fields: dict[str, Any]
    tensors: Tensors


def assemble(fields: dict[str, Any], weights: Tensors, ends: Ends, answers: Answers) -> InferredNetwork:
    """Complete a body's fields and weights with its head, its input and its task."""
    weights["head.weight"] = ends.head
    if ends.head_bias is not None:
        weights["head.bias"] = ends.head_bias
    fields |= {"head_bias": ends.head_bias is not None, "tie_embeddings": False, "dropout": 0.0}
    fields |= _add_input(fields, weights, ends, answers)
    fields["task"] = task = _task(len(ends.head), fields.get("vocab_size", 0), answers)
    if task != "generation":
        fields["classes"] = len(ends.head)
        fields["pooling"] = _pooling(fields["architecture"], bool(fields.get("bidirectional")), answers)
    return InferredNetwork(fields, weights)


def fill_biases(weights: Tensors, prefix: str, description: str, answers: Answers) -> None:
    """Add zero biases to a part that was built with bias=False, and note the assumption.

    A part that has some biases but lacks others is left alone: the file is damaged, and the check of the shapes names
    the missing ones.
    """
    names = [name for name in weights if name.startswith(prefix)]
    if not names or any("bias" in name for name in names):
        return
    for name in names:
        weights[name.replace("weight", "bias")] = np.zeros(len(weights[name]), np.float32)
    answers.assumed.append(f"biases=0: the file has none for {description} (bias=False)")


def _add_input(fields: dict[str, Any], weights: Tensors, ends: Ends, answers: Answers) -> dict[str, Any]:
    """Add the input's weights; returns its fields."""
    if ends.embedding is not None:
        table = ends.embedding
        if fields["architecture"] == "transformer":
            text = "are the embeddings multiplied by the square root of the width before the positions are added?"
            if answers.ask(Question("embedding_scale", text, ("no", "yes"), "no")) == "yes":
                # our networks do not scale embeddings, so the factor is multiplied into the table
                table = table * np.float32(math.sqrt(fields["width"]))
        weights["input.embedding.weight"] = table
        return {"input": "tokens", "vocab_size": len(table)}
    if ends.projection is None:
        entry = fields.get("input_width", fields["width"])
        return {"input": "features", "features": entry, "input_width": entry}
    rows, features = ends.projection.shape
    if rows == features:
        # a network of ours whose features have the input width has no projection
        reason = (
            f"its input layer has as many outputs as inputs ({rows}), and such networks are built without an input "
            "layer here; multiply this layer into the next one, or give it another width"
        )
        name = f"{ends.projection_name}.weight"
        raise UnknownNetwork(reason, [name], {name: ends.projection})
    weights["input.projection.weight"] = ends.projection
    weights["input.projection.bias"] = ends.projection_bias if ends.projection_bias is not None else np.zeros(rows, "f")
    return {"input": "features", "features": features}


def _task(outputs: int, vocabulary: int, answers: Answers) -> str:
    if outputs == 1:
        text = "there is one output: is it a value, or the logit of one label?"
        return answers.ask(Question("task", text, ("regression", "multilabel")))
    if outputs == vocabulary:
        text = "there are as many outputs as tokens: do they predict the next token, or a class?"
        return answers.ask(Question("task", text, ("generation", "classification", "multilabel")))
    reason = (
        f"exactly one of its {outputs} outputs is right (softmax); if each output is an independent yes or no "
        "(BCEWithLogitsLoss), the task is multilabel"
    )
    return answers.assume("task", "classification", reason, ("classification", "multilabel"))


def _pooling(architecture: str, bidirectional: bool, answers: Answers) -> str:
    """How the head gets one vector from those of all steps."""
    if architecture == "transformer":
        text = (
            "what does the head read: the mean or maximum over all steps, the first step's vector (x[:, 0]), or the "
            "last step's vector (x[:, -1])?"
        )
        return answers.ask(Question("pooling", text, ("mean", "max", "first", "last")))
    if not bidirectional:
        text = "what does the head read: the last step's vector (out[:, -1]), or the mean or maximum over all steps?"
        return answers.ask(Question("pooling", text, ("last", "mean", "max")))
    text = (
        "what does the head read: both directions' final states (h_n: last), the last step's output (out[:, -1]: "
        "last_step), or the mean or maximum over all steps?"
    )
    return answers.ask(Question("pooling", text, ("last", "last_step", "mean", "max")))
