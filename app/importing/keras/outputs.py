"""Adds the head of a Keras model to a network, and determines its task."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.importing.keras.heads import HeadLayer
from app.importing.keras.layers import unsupported
from app.importing.keras.recurrent_layers import RecurrentLayer, places
from app.importing.pytorch.functions import describe_function
from app.importing.pytorch.tensors import ForeignFileInvalid, Tensors
from app.importing.questions import Answers, Question
from app.wording import quantity


def add_head(
    fields: dict[str, Any], tensors: Tensors, last: RecurrentLayer, head: list[HeadLayer], answers: Answers
) -> list[str]:
    """Add the head and the task. Returns the descriptions of the head's layers."""
    *hidden, final = head
    functions = {layer.function for layer in hidden}
    if len(functions) > 1 or "softmax" in functions:
        names = ", ".join(sorted(functions))
        raise unsupported(f"its hidden Dense layers must all have the same activation, other than softmax; not {names}")
    chosen = places(last, fields["width"])
    first = head[0].linear
    if first.inputs != len(chosen):
        raise ForeignFileInvalid(f"the layer '{first.name}' reads {first.inputs} numbers instead of {len(chosen)}")
    wide = np.zeros((first.outputs, fields["width"] * (1 + fields["bidirectional"])), np.float32)
    wide[:, chosen] = first.weight
    matrices = [wide, *(layer.linear.weight for layer in head[1:])]
    for number, layer in enumerate(hidden):
        prefix = f"head_layers.{number}"
        tensors |= {f"{prefix}.weight": matrices[number], f"{prefix}.bias": layer.linear.some_bias}
    if hidden:
        fields |= {
            "head_widths": tuple(layer.linear.outputs for layer in hidden),
            "head_activation": hidden[0].function,
        }
    shown = [f"{layer.linear.name}, {describe_function(layer.function)}" for layer in hidden]
    return [*shown, final.linear.name, _add_outputs(fields, tensors, matrices[-1], final, answers)]


def _add_outputs(fields: dict[str, Any], tensors: Tensors, matrix: Any, final: HeadLayer, answers: Answers) -> str:
    """Add the last layer and the task. Returns the description of the output function."""
    count, bias = final.linear.outputs, final.linear.some_bias
    name = f"'{final.linear.name}' has {quantity(count, 'output')}"
    options = _options(final.function, count)
    if not options:
        raise unsupported(f"{name} with {final.function}; a classifier must end with softmax or sigmoid")
    fields["task"] = task = _task(name, final.function, options, count, answers)
    if task == "classification" and count == 1:  # softmax((0, z)) is (1 - sigmoid(z), sigmoid(z))
        matrix, bias = np.concatenate((np.zeros_like(matrix), matrix)), np.concatenate((np.zeros_like(bias), bias))
    fields["classes"] = len(matrix)
    tensors |= {"head.weight": matrix, "head.bias": bias}
    if task == "regression":
        return "a value"
    if task == "multilabel":
        return "sigmoid of each output"
    return "softmax" if count > 1 else "sigmoid: the probability of the second label"


def _options(function: str, count: int) -> tuple[str, ...]:
    """Return the tasks that a last layer with `count` outputs and this function can have."""
    single = {"sigmoid": ("classification", "multilabel"), "none": ("regression", "classification")}
    several = {"softmax": ("classification",), "sigmoid": ("multilabel",), "none": ("classification", "multilabel")}
    return (single if count == 1 else several).get(function, ())


def _task(name: str, function: str, options: tuple[str, ...], count: int, answers: Answers) -> str:
    if function == "none" and count == 1 and answers.labels is None:
        text = f"{name} without a function: is it a value (regression), or the logit of the second of two labels?"
        return answers.ask(Question("task", text, options))
    if function == "none":
        task = "classification"
        reason = f"{name} without a function, so the model was probably trained with from_logits=True"
        return answers.assume("task", task, reason, options)
    many = "multilabel" if answers.labels == 1 and "multilabel" in options else options[0]
    if answers.get("task") is not None or len(options) > 1:
        return answers.assume("task", many, f"{name} with {function}", options)
    return many
