"""Assembles a network from its body, head and input, using our tensor names, and determines its task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from app.errors import InvalidRequest
from app.importing.pytorch.functions import ask_function, describe_function
from app.importing.pytorch.inputs import add_input
from app.importing.pytorch.parts import Norm, UnknownNetwork
from app.importing.pytorch.roles import Roles
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers, Question
from app.wording import quantity
from models.choices import ACTIVATIONS

NONE = ("none",)
POOLINGS = {
    "mean": "mean of the steps", "max": "maximum of the steps", "first": "first step", "last_step": "last step",
    "last": "last step of each direction",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class InferredNetwork:
    """The fields of a `ModelConfig`, the weights under our names, and a one-line description of the computation."""

    fields: dict[str, Any]
    tensors: Tensors
    computation: str


def assemble(
    fields: dict[str, Any], weights: Tensors, roles: Roles, norms: list[Norm], answers: Answers, positions: str = ""
) -> InferredNetwork:
    """Add the head, the input and the task to a body's fields and weights.

    `positions` describes the positions that are added to the body's input; it is empty if there are none.
    """
    *hidden, last = roles.head
    weights["head.weight"] = last.weight
    if last.bias is not None:
        weights["head.bias"] = last.bias
    fields |= {"head_bias": last.bias is not None, "tie_embeddings": False, "dropout": 0.0}
    first = add_input(fields, weights, roles, answers)
    fields["task"] = task = _task(last.outputs, fields.get("vocab_size", 0), answers)
    first += [f"plus {positions}"] if positions else []
    steps = [*first, _body(fields), *_add_norm(fields, weights, norms, answers)]
    if task == "generation":
        if hidden or roles.scorer:
            raise _unknown("a language model must end with one linear layer", roles)
        return InferredNetwork(fields, weights, _shown([*steps, last.name, "softmax: the next token"]))
    fields["classes"] = last.outputs
    pooled = _add_pooling(fields, weights, roles, answers)
    steps.insert(len(steps) - (fields.get("output_norm") == "pooled"), pooled)
    if fields["architecture"] == "transformer":
        answers.assume("mask", "none", "every step attends to all steps of its text: there is no causal mask", NONE)
    fields["output_activation"] = function = answers.assume(
        "output_activation", "none", f"no function is applied before {roles.head[0].name!r}", ACTIVATIONS
    )
    steps += [] if function == "none" else [describe_function(function)]
    steps += _add_head(fields, weights, roles, answers)
    steps.append(_add_outputs(fields, weights, answers))
    return InferredNetwork(fields, weights, _shown(steps))


def fill_biases(weights: Tensors, prefix: str, description: str, answers: Answers) -> None:
    """Add zero biases to a module that was built with bias=False, and record the assumption.

    If only some of a module's biases are missing, the file is damaged, and the module is left unchanged. `output.write`
    then reports the missing biases.
    """
    names = [name for name in weights if name.startswith(prefix)]
    if not names or any("bias" in name for name in names):
        return
    for name in names:
        weights[name.replace("weight", "bias")] = np.zeros(weights[name].shape[:1], np.float32)
    answers.assumed.append(f"biases=0: the file contains no biases for {description} (bias=False)")


def _add_norm(fields: dict[str, Any], weights: Tensors, norms: list[Norm], answers: Answers) -> list[str]:
    """Add the separate norm after the body, if any. Returns a description of the norm."""
    if not norms:
        return []
    width = len(norms[0].weight)
    gives = fields["width"] * (2 if fields.get("bidirectional") else 1)
    if len(norms) > 1 or width != gives:
        tensors = {f"{norm.name}.weight": norm.weight for norm in norms}
        reason = f"apart from its body, it may have one norm, over the {gives} outputs of the body"
        raise UnknownNetwork(reason, list(tensors), tensors)
    [norm] = norms
    if fields["task"] == "generation":
        place = answers.assume("norm", "steps", f"{norm.name!r} is applied to the body's output", ("steps",))
    else:
        text = (
            f"is the norm {norm.name!r} applied to the body's output at every step (steps), or only to the vector "
            "that the head reads (pooled)? A norm in any other place cannot be imported"
        )
        place = answers.ask(Question("norm", text, ("steps", "pooled")))
    weights |= {"norm.weight": norm.weight, "norm.bias": norm.bias}
    fields["output_norm"] = place
    if "norm_eps" not in fields:
        fields["norm_eps"] = answers.number("norm_eps", 1e-5, "PyTorch's default eps of nn.LayerNorm")
    return [norm.name]


def _add_pooling(fields: dict[str, Any], weights: Tensors, roles: Roles, answers: Answers) -> str:
    """Add the pooling that combines the vectors of all steps into one vector for the head.

    Returns the pooling's description.
    """
    if not roles.scorer:
        both = bool(fields.get("bidirectional"))
        fields["pooling"] = pooling = _pooling(fields["architecture"], both, answers)
        return POOLINGS["last_step" if pooling == "last" and not both else pooling]
    *hidden, query = roles.scorer
    names = " and ".join(repr(layer.name) for layer in roles.scorer)
    reason = (
        f"{names} {'score' if hidden else 'scores'} the steps, which are weighted by the softmax of the scores; no "
        "function is applied to the scores"
    )
    fields["pooling"] = answers.assume("pooling", "attention", reason, ("attention",))
    weights["pooling.query.weight"] = query.weight  # the softmax cancels the bias, which is equal at all steps
    before = _add_function_before_scores(fields, roles, answers)
    if not hidden:
        return f"sum of the steps, weighted by the softmax of {before}{query.name}"
    text = f"which function is applied between {names}?"
    fields["pooling_activation"] = function = ask_function("pooling_activation", text, answers)
    fields["pooling_width"] = hidden[0].outputs
    shown = describe_function(function)
    weights |= {"pooling.hidden.weight": hidden[0].weight, "pooling.hidden.bias": hidden[0].some_bias}
    return f"sum of the steps, weighted by the softmax of {before}{hidden[0].name}, {shown}, {query.name}"


def _add_function_before_scores(fields: dict[str, Any], roles: Roles, answers: Answers) -> str:
    """Add the function between the steps and the layers that score them. Returns the start of a description."""
    first = roles.scorer[0].name
    reason = (
        f"no function is applied to the steps before {first!r}, as in {first}(steps); for {first}(torch.tanh(steps)), "
        "the answer is tanh. The weighted sum is of the steps themselves, without the function"
    )
    function = answers.assume("pooling_input_activation", "none", reason, ACTIVATIONS)
    fields["pooling_input_activation"] = function
    return "" if function == "none" else f"{describe_function(function)}, "


def _add_head(fields: dict[str, Any], weights: Tensors, roles: Roles, answers: Answers) -> list[str]:
    *hidden, last = roles.head
    if not hidden:
        return [last.name]
    names = ", ".join(repr(layer.name) for layer in hidden)
    text = f"which function is applied after each head layer except the last ({names})?"
    function = ask_function("head_activation", text, answers)
    fields |= {"head_widths": tuple(layer.outputs for layer in hidden), "head_activation": function}
    for number, layer in enumerate(hidden):
        weights |= {f"head_layers.{number}.weight": layer.weight, f"head_layers.{number}.bias": layer.some_bias}
    return [*(f"{layer.name}, {describe_function(function)}" for layer in hidden), last.name]


def _add_outputs(fields: dict[str, Any], weights: Tensors, answers: Answers) -> str:
    """Add the output function and return its description. A single logit for two classes is converted to two logits."""
    task = fields["task"]
    if task == "regression":
        answers.assume("final_activation", "none", "the last layer's output is the value", NONE)
        return "a value"
    if task == "multilabel":
        return "sigmoid of each output"
    if fields["classes"] > 1:
        return "softmax"
    # softmax((0, z)) is (1 - sigmoid(z), sigmoid(z))
    weights["head.weight"] = np.concatenate((np.zeros_like(weights["head.weight"]), weights["head.weight"]))
    bias = weights.get("head.bias", np.zeros(1, np.float32))
    weights["head.bias"] = np.concatenate((np.zeros(1, np.float32), bias))
    fields |= {"classes": 2, "head_bias": True}
    return "sigmoid: the probability of the second label"


def _task(outputs: int, vocabulary: int, answers: Answers) -> str:
    if outputs == 1:
        return _task_of_one_output(answers)
    if outputs == vocabulary:
        text = "there are as many outputs as tokens: do they predict the next token, or a class?"
        return answers.ask(Question("task", text, ("generation", "classification", "multilabel")))
    if answers.get("task") == "regression":
        raise InvalidRequest(
            f"task=regression: the network has {outputs} outputs, but a regression version has one; the task of a "
            "network with several outputs must be classification or multilabel",
            param="task",
        )
    reason = (
        f"exactly one of the {outputs} outputs is correct (softmax); if each output is an independent yes or no "
        "(BCEWithLogitsLoss), the task is multilabel"
    )
    return answers.assume("task", "classification", reason, ("classification", "multilabel"))


def _task_of_one_output(answers: Answers) -> str:
    tasks = ("regression", "classification", "multilabel")
    if answers.labels is not None and answers.labels > 2 and answers.get("task") != "regression":
        entry = answers.labels_entry
        where = "were given" if entry is None else f"are in the file's entry {entry!r}"
        way_out = "" if entry is None else "; for a value, add --task regression, which ignores the entry"
        raise InvalidRequest(
            f"{answers.labels} labels {where}, but the network has one output: the output can be the logit of the "
            f"second of two labels, the logit of one label, or a value without labels{way_out}",
            param="labels",
        )
    if answers.labels in (1, 2):
        task = ("multilabel", "classification")[answers.labels - 1]
        reason = f"its single output is the logit of {'the label' if task == 'multilabel' else 'the second label'}"
        return answers.assume("task", task, reason, tasks)
    text = (
        "there is one output: is it a value (regression), the logit of the second of two labels (classification), or "
        "the logit of a single label (multilabel)?"
    )
    return answers.ask(Question("task", text, tasks))


def _pooling(architecture: str, bidirectional: bool, answers: Answers) -> str:
    """Ask how the vectors of all steps are pooled into one vector for the head."""
    if architecture == "transformer":
        options: tuple[str, ...] = ("mean", "max", "first", "last")
        text = "the mean or maximum over all steps, the first step's vector (x[:, 0]), or the last step's (x[:, -1])"
    elif not bidirectional:
        options = ("last", "mean", "max")
        text = "the last step's vector (out[:, -1], or h_n[-1]), or the mean or maximum over all steps"
    else:
        options = ("last", "last_step", "mean", "max")
        text = (
            "both directions' final states (last: h_n[-2] and h_n[-1]), the last step's output (last_step: "
            "out[:, -1]), or the mean or maximum over all steps"
        )
    others = "such as a sum, attention without weights, or each step separately"
    text = f"what does the head read: {text}? Anything else, {others}, cannot be imported"
    return answers.ask(Question("pooling", text, options))


def _body(fields: dict[str, Any]) -> str:
    sizes = f"{quantity(fields['layers'], 'layer')} of {fields['width']}"
    if fields["architecture"] == "transformer":
        causal = ", causal" if fields["task"] == "generation" else ""
        order = "pre-norm" if fields["norm_first"] else "post-norm"
        function = describe_function(fields["activation"])
        kind = f"{quantity(fields['heads'], 'head')}, {function}, {order}{causal}"
        return f"Transformer encoder ({sizes}, {kind})"
    kind = fields["architecture"].upper()
    sizes = f"{fields['nonlinearity']}, {sizes}" if kind == "RNN" else sizes
    both = "both directions, " if fields["bidirectional"] else ""
    return f"{kind} ({both}{sizes}, from a state of zeros)"


def _shown(steps: list[str]) -> str:
    return " → ".join(steps)


def _unknown(reason: str, roles: Roles) -> UnknownNetwork:
    tensors = {f"{layer.name}.weight": layer.weight for layer in (*roles.scorer, *roles.head)}
    return UnknownNetwork(reason, list(tensors), tensors)
