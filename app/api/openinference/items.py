"""Converts an inference request's input tensors to items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.api.openinference import signature, tensors
from app.api.openinference.infer_schemas import InputTensor
from app.errors import InvalidRequest, did_you_mean
from app.inference.items import Pair
from models.config import ModelConfig


def items_of(config: ModelConfig, inputs: Sequence[InputTensor], elements: Sequence[list[Any]]) -> list[Any]:
    """Return the items: texts, pairs or sequences. Raises InvalidRequest if the version cannot read the tensors."""
    expected = [entry.name for entry in signature.inputs_of(config)]
    for tensor in inputs:
        if tensor.name not in expected:
            hint = did_you_mean(tensor.name, expected)
            raise InvalidRequest(
                f"unknown input {tensor.name[:80]!a}{hint}; the version reads {' and '.join(expected)}", param="inputs"
            )
    sent = {tensor.name: (tensor, values) for tensor, values in zip(inputs, elements, strict=True)}
    if len(sent) < len(inputs) or expected[0] not in sent:
        raise InvalidRequest(f"send the input {expected[0]} once", param="inputs")
    if config.input == "features":
        return _series(*sent[signature.SERIES], config.features)
    texts = _texts(*sent[expected[0]])
    if signature.PAIR not in sent:
        return list(texts)
    others = _texts(*sent[signature.PAIR])
    if len(others) != len(texts):
        raise InvalidRequest("text and text_pair must have the same shape", param="inputs")
    return [Pair(text, other) for text, other in zip(texts, others, strict=True)]


def _texts(tensor: InputTensor, elements: list[Any]) -> list[str]:
    """The texts in a tensor of shape [N] or [N, 1]."""
    if tensor.datatype != tensors.BYTES:
        raise InvalidRequest(f"input {tensor.name} must be BYTES, not {tensor.datatype}", param="inputs")
    if tensor.shape[1:] not in ([], [1]):
        raise InvalidRequest(f"input {tensor.name} must have the shape [N] or [N, 1]", param="inputs")
    return elements


def _series(tensor: InputTensor, elements: list[Any], width: int) -> list[list[list[float]]]:
    """The sequences in a tensor of shape [N, steps, features], or [steps, features] for a single sequence."""
    if tensor.datatype == tensors.BYTES:
        raise InvalidRequest(f"input {tensor.name} must contain numbers, not BYTES", param="inputs")
    shape = [1, *tensor.shape] if len(tensor.shape) == 2 else tensor.shape
    if len(shape) != 3 or shape[2] != width:
        raise InvalidRequest(f"input {tensor.name} must have the shape [N, steps, {width}]", param="inputs")
    count, steps, _ = shape
    rows = [elements[i : i + width] for i in range(0, count * steps * width, width)]
    return [rows[i : i + steps] for i in range(0, count * steps, max(1, steps))]
