"""Prepares a request's inputs: tokenizes the items and truncates them to a version's context length."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidRequest
from app.inference.conversations import Conversation
from app.inference.items import Item, Pair, Steps
from app.inference.lengths import LengthPolicy, check_characters, cutter, size_for
from app.inference.versions import ResolvedVersion
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire
from app.wording import quantity

LARGEST = 3.4028234663852886e38  # the largest float32


@dataclass(frozen=True, slots=True)
class TokenizedInput:
    """The input for engine requests: token ids or numeric steps, one entry per item."""

    sequences: list[list[int]]
    features: list[wire.FeatureSequence]

    @property
    def lengths(self) -> list[int]:
        """The number of tokens or steps in each item."""
        return [len(ids) for ids in self.sequences] or [f.steps for f in self.features]


def prepare(
    items: Sequence[Item], version: ResolvedVersion, policy: LengthPolicy, field: str = "input"
) -> TokenizedInput:
    """Convert the items to token ids or numeric steps. This is slow for long texts.

    `policy` specifies how overlong input is handled. `field` is the request field named in errors. Raises
    InvalidRequest if the version cannot read an item.
    """
    cut = cutter(version, policy, field)
    one = len(items) == 1
    if version.config.input == "features":
        return TokenizedInput(
            [], [_steps(x, version, cut, field if one else f"{field}[{i}]") for i, x in enumerate(items)]
        )
    if policy.truncate is None:
        check_characters(items, version, policy, field)
    encoded = _encode(items, version, policy, field)
    sequences = []
    for i, ids in enumerate(encoded):
        place = field if one else f"{field}[{i}]"
        if not ids and items[i] == "":
            ids = _start(version)
        if not ids:
            raise InvalidRequest(f"{place} contains no token in the vocabulary of {version.ref}", param=field)
        sequences.append(cut(ids, place))
    return TokenizedInput(sequences, [])


def _start(version: ResolvedVersion) -> list[int]:
    """Return the ids for an empty prompt: the end token, because in training each text follows an end token."""
    tokenizer = version.tokenizer
    return [] if tokenizer is None or tokenizer.eos_id is None else [tokenizer.eos_id]


def _encode(items: Sequence[Item], version: ResolvedVersion, policy: LengthPolicy, field: str) -> list[list[int]]:
    tokenizer = version.tokenizer
    if tokenizer is None or any(isinstance(item, Steps) for item in items):
        raise InvalidRequest(f"{field}: {version.ref} reads text or token ids, not numbers", param=field)
    texts = [item for item in items if isinstance(item, str)]
    sequences = tokenizer.encode_batch(texts, policy.special)
    if len(texts) < len(items):
        encoded = iter(sequences)
        sequences = [
            next(encoded) if isinstance(item, str) else _encode_other(item, version, tokenizer, policy, field)
            for item in items
        ]
    if tokenizer.template and policy.special and policy.truncate is not None:
        size = size_for(version, policy)
        return [
            _within(size, policy.side, item, ids, tokenizer) if len(ids) > size else ids
            for item, ids in zip(items, sequences, strict=True)
        ]
    return sequences


def _encode_other(
    item: Item, version: ResolvedVersion, tokenizer: Tokenizer, policy: LengthPolicy, field: str
) -> list[int]:
    """Encode an item that is not a single text."""
    if isinstance(item, Pair):
        return tokenizer.encode_pair(item.text, item.text_pair or "", policy.special)
    if isinstance(item, Conversation):
        return item.encode(version, tokenizer)
    return _checked(item, version.config.vocab_size, field) if isinstance(item, list) else []


def _within(size: int, side: str, item: Item, ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """Truncate an overlong text or pair, but not the template around it. The ids of all other items do not change."""
    if isinstance(item, str):
        return tokenizer.encode_within(size, side, item)
    if isinstance(item, Pair):
        return tokenizer.encode_within(size, side, item.text, item.text_pair or "")
    return ids


def _checked(ids: list[int], size: int, field: str) -> list[int]:
    if not all(0 <= token < size for token in ids):
        raise InvalidRequest(f"{field}: a token id must be between 0 and {size - 1}", param=field)
    return ids


def _steps(
    item: Item, version: ResolvedVersion, cut: Callable[[list[Any], str], list[Any]], field: str
) -> wire.FeatureSequence:
    width = version.config.features
    place = field if field.endswith("]") else f"{field}[0]"  # even a single sequence is wrapped in a list
    if not isinstance(item, Steps):
        raise InvalidRequest(
            f"{field}: {version.ref} expects numbers in the form [[[number]]], with "
            f"{quantity(width, 'number')} per step",
            param=field,
        )
    rows = cut(item.rows, field)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise InvalidRequest(
                f"the step at {place}[{i}] has {quantity(len(row), 'number')}, but {version.ref} expects {width} per "
                "step",
                param=field,
            )
    try:
        numbers = array("d", [number for row in rows for number in row])
    except (TypeError, OverflowError):
        raise InvalidRequest(f"{field} contains a value that is not a float32 number", param=field) from None
    if not all(abs(number) <= LARGEST for number in numbers):  # the comparison is false for NaN
        raise InvalidRequest(f"{field} contains a number that is NaN or outside the range of float32", param=field)
    return wire.FeatureSequence(len(rows), width, numbers.tobytes(), "f8")
