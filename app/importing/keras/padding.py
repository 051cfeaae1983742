"""Finds out whether a Keras model reads padding, and how long its texts may be."""

from __future__ import annotations

from typing import Any

from app.errors import InvalidRequest
from app.importing.keras.layers import KerasLayer, shown, unsupported
from app.importing.questions import Answers, Question
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.vocabulary import NAMES, UNKNOWN

CONTEXT_LENGTH = 4096  # the assumed maximum number of steps
PADDINGS = ("none", "left", "right")


def input_length(layers: list[KerasLayer]) -> int | None:
    """Return the fixed length of the model's input, or None if texts may have any length."""
    for layer in layers:
        for name in ("batch_shape", "batch_input_shape"):
            shape = layer.settings.get(name)
            if isinstance(shape, list) and len(shape) > 1 and isinstance(shape[1], int):
                return shape[1]
        if isinstance(length := layer.settings.get("input_length"), int):
            return length
    return None


def ask_padding(masked: bool, pooling: str, length: int | None, splitter: KerasLayer | None, answers: Answers) -> None:
    """Ask whether texts are padded, unless the model skips padding. Raises UnknownNetwork if padding is read.

    `splitter` is the model's TextVectorization, if it has one. It pads texts itself.
    """
    if masked and pooling != "max":
        return
    right = "GlobalAveragePooling1D" if masked else "Embedding(…, mask_zero=True)"
    if splitter is not None and length:
        raise unsupported(
            f"{splitter} pads texts with zeros to {length} steps, so the network reads padding as if it were text; "
            f"train it with {right}, which skips padding"
        )
    answer = answers.ask(Question("padding", _question(masked, length, splitter), PADDINGS))
    if answer != "none":
        raise unsupported(f"it reads padding as if it were text; train it with {right}, which skips padding")


def _question(masked: bool, length: int | None, splitter: KerasLayer | None) -> str:
    fixed = f", and its input has a fixed length of {length}" if length else ""
    reads = (
        "GlobalMaxPooling1D ignores the mask, so it also reads the steps of the padding"
        if masked
        else "the Embedding has mask_zero=False, so the network also reads padding"
    )
    query = (
        "does your program pad texts (pad_sequences pads on the left)?"
        if splitter is None
        else f"{splitter} pads all texts of a batch on the right, to the longest text of the batch; does your program "
        "pass more than one text at a time?"
    )
    return (
        f"{reads}{fixed}: {query} none: texts are never padded, neither in training nor later. The service reads each "
        "text without padding"
    )


def output_length(splitter: KerasLayer) -> int | None:
    """Return the number of steps to which a TextVectorization pads and cuts texts, or None if there is no such number.

    Raises UnknownNetwork for a value that is not a length.
    """
    length = splitter.settings.get("output_sequence_length")
    if length is not None and (type(length) is not int or length < 1):
        raise unsupported(f"{splitter} must have a positive integer or None as output_sequence_length")
    return length


def set_length(fields: dict[str, Any], length: int | None, splitter: KerasLayer | None, answers: Answers) -> None:
    """Set the maximum number of steps, and say which end of longer texts the original program cuts off."""
    reason = "the network itself has no limit"
    if length and splitter is not None:
        reason = f"{splitter} keeps the first {length} steps of longer texts, as requests with truncation_side=right do"
    elif length:
        reason = (
            "the fixed length of the model's input; pad_sequences keeps the last steps of longer texts (unless it has "
            "truncating='post'), as requests with truncation_side=left do"
        )
    fields["context_length"] = answers.count("context_length", length or CONTEXT_LENGTH, reason)


def check_masked_id(tokenizer: Tokenizer) -> None:
    """Raise InvalidRequest if texts can contain the id 0, which a model with mask_zero=True skips as padding."""
    word = tokenizer.token_text(0)
    if word not in ("", UNKNOWN.decode(), *NAMES["pad"]):
        raise InvalidRequest(
            f"the word '{shown(word)}' has the id 0, which the model skips as padding (mask_zero=True): the first word "
            "must have the id 1 or more (first_id), and unknown words must be skipped (unknown=skip) or have another",
            param="vocabulary",
        )
