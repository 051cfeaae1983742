"""Adds the input part to an imported network.

The part is an optional layer that reads numeric steps, or an embedding with the layers after it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from app.importing.pytorch.folding import merge, project
from app.importing.pytorch.functions import ask_function, describe_function
from app.importing.pytorch.parts import Layer, UnknownNetwork
from app.importing.pytorch.roles import Chain, Roles
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers, Question
from app.wording import quantity


def add_input(fields: dict[str, Any], weights: Tensors, roles: Roles, answers: Answers) -> list[str]:
    """Add the weights and fields of the input. Returns descriptions of its parts, in order."""
    function, after = "none", []
    if roles.inputs:
        names = ", ".join(repr(layer.name) for layer in roles.inputs)
        outputs = "output of the input layer" if len(roles.inputs) == 1 else "output of each of the input layers"
        text = f"which function is applied to the {outputs} {names}?"
        function = ask_function("input_activation", text, answers)
        shown = "" if function == "none" else f", {describe_function(function)}"
        after = [f"{layer.name}{shown}" for layer in roles.inputs]
    entry = fields.get("input_width", fields["width"])
    embedding = roles.embedding
    if embedding is None and _kind_of_steps(answers) == "one_hot":
        embedding = Layer("one-hot vectors", np.eye(roles.inputs[0].inputs if roles.inputs else entry, dtype="f"))
    if embedding is not None:
        return [*_add_embedding(fields, weights, embedding, roles.inputs, function, answers), *after]
    _add_numbers(fields, weights, roles.inputs, function)
    return [f"steps of {quantity(fields['features'], 'number')}", *after]


def _kind_of_steps(answers: Answers) -> str:
    """Return "one_hot" if the user says that steps are one-hot vectors, otherwise "numbers". One-hot vectors become
    tokens, whose embedding is an identity matrix.
    """
    reason = "the numbers of a step are not scaled by the service; scale them as your program does"
    return answers.assume("input", "numbers", reason, ("numbers", "one_hot"))


def _add_embedding(
    fields: dict[str, Any], weights: Tensors, embedding: Layer, inputs: Chain, function: str, answers: Answers
) -> list[str]:
    """Add the embedding, after folding the layers that follow it into its rows. Returns the embedding's description."""
    table = embedding.weight
    shown = [f"tokens, {embedding.name} {table.shape[0]}×{table.shape[1]}"]
    reason = "a text is read in full and without padding; programs that truncate or pad texts compute different results"
    answers.assume("padding", "none", reason, ("none",))
    if fields["architecture"] == "transformer" and not inputs:
        text = "are the embeddings multiplied by the square root of the width before positions are added?"
        if answers.ask(Question("embedding_scale", text, ("no", "yes"), "no")) == "yes":
            # our networks do not scale embeddings, so the factor is multiplied into the table
            table = table * np.float32(math.sqrt(table.shape[1]))
            shown[0] += f", times √{table.shape[1]}"
    for layer in inputs:
        table = project(table, layer, function)
    weights["input.embedding.weight"] = table
    fields |= {"input": "tokens", "vocab_size": len(table)}
    return shown


def _add_numbers(fields: dict[str, Any], weights: Tensors, inputs: Chain, function: str) -> None:
    """Add the layer that reads numeric steps, if there is one."""
    entry = fields.get("input_width", fields["width"])
    fields |= {"input": "features", "features": entry, "input_width": entry}
    if not inputs:
        return
    if len(inputs) > 1:
        raise _unknown("it has several input layers", inputs)
    [layer] = inputs
    if layer.inputs != layer.outputs or function != "none":
        weights["input.projection.weight"], weights["input.projection.bias"] = layer.weight, layer.some_bias
        fields |= {"features": layer.inputs, "input_activation": function}
        return
    # Our networks have no projection if the features have the input width, so the layer is merged into the next one.
    if "body.rnn.weight_ih_l0" not in weights:
        raise _unknown("its input layer has as many outputs as inputs and no activation function", inputs)
    for suffix in ("", "_reverse") if fields.get("bidirectional") else ("",):
        weight, bias = (f"body.rnn.{part}_ih_l0{suffix}" for part in ("weight", "bias"))
        if bias not in weights or weights[weight].shape != (len(weights[bias]), layer.outputs):
            continue  # the file is damaged; `output.write` checks all shapes and reports the errors
        weights[weight], weights[bias] = merge(weights[weight], weights[bias], layer)


def _unknown(reason: str, inputs: Chain) -> UnknownNetwork:
    tensors = {f"{layer.name}.weight": layer.weight for layer in inputs}
    return UnknownNetwork(reason, list(tensors), tensors)
