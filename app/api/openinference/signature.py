"""Describes a version's inputs and outputs in the format of the protocol."""

from __future__ import annotations

import msgspec

from models.config import ModelConfig

TEXT, PAIR, SERIES = "text", "text_pair", "series"
PROMPT, CONTINUATION = "text_input", "text_output"
LABEL, PROBS, VALUE = "label", "probs", "value"
TYPES = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32", "FP64": "TYPE_FP64"}
DATATYPES = {LABEL: "BYTES", CONTINUATION: "BYTES", PROBS: "FP32", VALUE: "FP64"}  # output -> its data type


class TensorMetadata(msgspec.Struct, frozen=True):
    """A tensor's metadata; -1 in the shape stands for any length."""

    name: str
    datatype: str
    shape: list[int]


def inputs_of(config: ModelConfig) -> list[TensorMetadata]:
    """A version's inputs. `text_pair` is optional.

    The datatype of numbers is FP64, because FP32 has only seven digits: too few for values with a large offset.
    """
    if config.task == "generation":
        return [TensorMetadata(PROMPT, "BYTES", [-1])]
    if config.input == "features":
        return [TensorMetadata(SERIES, "FP64", [-1, -1, config.features])]
    return [TensorMetadata(TEXT, "BYTES", [-1]), TensorMetadata(PAIR, "BYTES", [-1])]


def outputs_of(config: ModelConfig, labels: int) -> list[TensorMetadata]:
    """The outputs of a version with this number of labels."""
    if config.task == "generation":
        return [_output(CONTINUATION)]
    if config.task == "embedding":
        return []  # vectors are returned by other routes
    if config.task == "regression":
        return [_output(VALUE)]
    return [_output(LABEL), _output(PROBS, labels)]


def _output(name: str, *axes: int) -> TensorMetadata:
    return TensorMetadata(name, DATATYPES[name], [-1, *axes])
