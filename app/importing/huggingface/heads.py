"""Converts what follows an encoder's body: a classification head, or pooling for embeddings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.importing.huggingface.parts import ForeignBody, moved, moved_norm, take
from app.importing.huggingface.source_config import SourceConfig
from app.importing.pytorch.tensors import ForeignFileInvalid, Tensors
from app.importing.questions import Answers

# Heads that predict masked tokens or the order of sentences, and poolers that no head reads.
UNUSED = r"(cls|lm_head|vocab_transform|vocab_layer_norm|vocab_projector|pooler)\..+"
POOLINGS = ("mean", "first", "max", "last")
PROBLEMS = {
    "single_label_classification": "classification",
    "multi_label_classification": "multilabel",
    "regression": "regression",
}


@dataclass(frozen=True, slots=True)
class HeadNames:
    """The names in a classification head: those of the hidden layer, its activation function, and the last layer.

    `norm` is the norm after the hidden layer. Families with such a norm describe the head in config.json.
    """

    hidden: str
    activation: str
    last: str
    norm: str = ""


BERT = HeadNames("pooler.dense", "tanh", "classifier")
ROBERTA = HeadNames("classifier.dense", "tanh", "classifier.out_proj")
DISTILBERT = HeadNames("pre_classifier", "relu", "classifier")
MODERNBERT = HeadNames("head.dense", "gelu", "classifier", "head.norm")
# The functions of transformers that equal those of PyTorch.
FUNCTIONS = {"gelu": "gelu", "gelu_python": "gelu", "relu": "relu", "silu": "silu", "tanh": "tanh"}


def add_classifier(
    body: ForeignBody, names: HeadNames, config: SourceConfig, tensors: Tensors, answers: Answers
) -> str:
    """Add a head that reads the first token, or the mean of the tokens. Returns its description."""
    fields = _described(names, config)
    weights = _hidden_layer(names, config, tensors) | moved(tensors, {names.last: "head"})
    if names.norm:
        weights |= moved_norm(tensors, names.norm, "head_norm", body.fields["norm_bias"])
    outputs, width = len(weights["head.weight"]), len(weights["head_layers.0.weight"])
    body.tensors.update(weights)
    body.fields.update(
        fields, task=_task(config, outputs, answers), classes=outputs, head_widths=(width,), head_bias=True
    )
    ending = {"classification": "softmax", "multilabel": "sigmoid of each output", "regression": "a value"}
    read = "first token" if fields["pooling"] == "first" else "mean of the tokens"
    hidden = f"{names.hidden}, {fields['head_activation']}" + (f" → {names.norm}" if names.norm else "")
    return f"{read} → {hidden} → {names.last} → {ending[body.fields['task']]}"


def _hidden_layer(names: HeadNames, config: SourceConfig, tensors: Tensors) -> Tensors:
    if not names.norm or config.flag("classifier_bias", default=False):
        return moved(tensors, {names.hidden: "head_layers.0"})
    weight = take(tensors, f"{names.hidden}.weight")  # `drop_unused` refuses a bias
    return {"head_layers.0.weight": weight, "head_layers.0.bias": np.zeros(len(weight), np.float32)}


def _described(names: HeadNames, config: SourceConfig) -> dict[str, Any]:
    """Return the fields of a head that the family determines or, for some families, config.json."""
    if not names.norm:
        return {"pooling": "first", "head_activation": names.activation}
    return {
        "pooling": config.choice("classifier_pooling", options={"cls": "first", "mean": "mean"}, default="cls"),
        "head_activation": config.choice("classifier_activation", options=FUNCTIONS, default=names.activation),
        "head_norm": True,
    }


def _task(config: SourceConfig, outputs: int, answers: Answers) -> str:
    problem = config.get("problem_type")
    if problem is not None:
        task = config.choice("problem_type", options=PROBLEMS)
        if task == "regression" and outputs != 1:
            raise ForeignFileInvalid(
                f"{config.name}: problem_type is regression with {outputs} values; only regression with one value is "
                "supported"
            )
        return task
    if outputs == 1:
        reason = "config.json has no problem_type; if the one output is the logit of a label, the task is multilabel"
        return answers.assume("task", "regression", reason, ("regression", "multilabel"))
    reason = "config.json has no problem_type; if each output is an independent yes or no, the task is multilabel"
    return answers.assume("task", "classification", reason, ("classification", "multilabel"))


def add_pooling(body: ForeignBody, pooling: str | None, answers: Answers) -> str:
    """Complete a network for embeddings. Returns a description of its output.

    `pooling` is None if the directory does not specify the pooling.
    """
    if pooling is None:
        reason = "the directory has no modules.json of sentence-transformers; embeddings are the mean of the tokens"
        pooling = answers.assume("pooling", "mean", reason, POOLINGS)
    body.fields.update(task="embedding", classes=0, pooling=pooling)
    return f"{pooling} of the tokens, scaled to length 1"


def drop_unused(tensors: Tensors, answers: Answers, names: str = UNUSED) -> None:
    """Drop the tensors of heads that the import does not use. Raises ForeignFileInvalid for any other tensor.

    `names` is a regular expression for the names of these tensors.
    """
    dropped = [name for name in tensors if re.fullmatch(names, name)]
    if rest := [name for name in tensors if not re.fullmatch(names, name)]:
        raise ForeignFileInvalid(
            f"the weights contain tensors that cannot be imported: {', '.join(n[:80] for n in rest[:20])}"
        )
    if dropped:
        modules = ", ".join(dict.fromkeys(name.partition(".")[0] for name in dropped))
        answers.assumed.append(f"dropped={modules}: these {len(dropped)} tensors belong to heads that are not used")


def labels_of(config: SourceConfig, fields: dict[str, Any]) -> list[str]:
    """Return the labels in id2label, or the default names used by transformers."""
    names = config.get("id2label")
    default = [f"LABEL_{index}" for index in range(fields["classes"])]
    if not isinstance(names, dict) or not names:
        return default
    listed = [names.get(str(index)) for index in range(fields["classes"])]
    if len(names) != len(listed) or any(not isinstance(name, str) for name in listed):
        raise ForeignFileInvalid(
            f"{config.name}: id2label must name each of the {len(default)} outputs; or use --labels"
        )
    return [str(name) for name in listed]
