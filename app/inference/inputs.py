"""The inputs of a request: parsed from JSON, checked, tokenized, and cut to a version's context length."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.errors import InvalidRequest
from app.inference.conversations import Conversation
from app.inference.lengths import LengthPolicy, check_characters, cutter, size_for
from app.inference.versions import ResolvedVersion
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire
from app.wording import counted


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pair of texts as one input, or a single text if `text_pair` is missing."""

    text: str
    text_pair: str | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """One numeric sequence, with one row of numbers per step."""

    rows: list[list[float]]


LARGEST = 3.4028234663852886e38  # the largest float32
Item = str | Pair | list[int] | Steps | Conversation
SHAPES = (
    "a text, a list of texts, {text, text_pair} objects, token ids, a list of lists of token ids, "
    "or numbers as [[[number]]] (batch, time, feature)"
)


@dataclass(frozen=True, slots=True)
class TokenizedInput:
    """The input of one request to an engine: token ids or numeric steps, one entry per item."""

    sequences: list[list[int]]
    features: list[wire.FeatureSequence]

    @property
    def lengths(self) -> list[int]:
        """The number of tokens or steps of each item."""
        return [len(ids) for ids in self.sequences] or [f.steps for f in self.features]


def entries_of(value: Any, most: int) -> int:
    """Estimate the work of parsing a value: its list entries, and the nested entries of the first `most` items."""
    if not isinstance(value, list):
        return 1
    return len(value) + sum(len(item) for item in value[:most] if isinstance(item, list))


def parse(value: Any, field: str, most: int, *, blank: bool = False) -> list[Item]:
    """Parse a request's input, which may have any of `SHAPES`, into items.

    `blank` allows texts that are empty or contain only white space. Raises InvalidRequest with the position of the
    invalid item.
    """
    if isinstance(value, str | Pair):
        return [_item(value, field, blank)]
    if not isinstance(value, list):
        raise InvalidRequest(f"{field} must be {SHAPES}", param=field)
    if not value:
        raise InvalidRequest(f"{field} is empty", param=field)
    if _all(int, value):
        return [value]
    if len(value) > most:
        raise InvalidRequest(
            f"{field} contains {len(value)} items; one request may contain at most {most}", param=field
        )
    items = [_item(entry, f"{field}[{i}]", blank) for i, entry in enumerate(value)]
    if len({str if isinstance(item, Pair) else type(item) for item in items}) > 1:
        raise InvalidRequest(f"{field} mixes texts, token ids and numbers; send only one kind", param=field)
    return items


def _item(value: Any, field: str, blank: bool) -> Item:
    if isinstance(value, str):
        return _text(value, field, blank)
    if isinstance(value, Pair):
        return _pair(value.text, value.text_pair, field)
    if isinstance(value, list) and value:
        if _all(int, value):
            return value
        if _all(str, value) and len(value) == 2:
            return _pair(value[0], value[1], field)
        if all(isinstance(row, list) and row and not _all(str, row) for row in value):
            return Steps(value)
    raise InvalidRequest(f"{field} is {'empty' if value == [] else 'malformed'}; it must be {SHAPES}", param=field)


def _all(kind: type, value: list[Any]) -> bool:
    return type(value[0]) is kind and all(type(entry) is kind for entry in value)


def _text(value: str, field: str, blank: bool = False) -> str:
    if not blank and not value.strip():
        raise InvalidRequest(f"{field} is empty", param=field)
    return value


def _pair(text: str, text_pair: str | None, field: str) -> Item:
    _text(text, field)
    return text if text_pair is None else Pair(text, _text(text_pair, f"{field}.text_pair"))


def size_of(items: Sequence[Item]) -> int:
    """Estimate the work of preparing the items as the number of their characters, ids or numbers."""
    size = 0
    for item in items:
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, Pair):
            size += len(item.text) + len(item.text_pair or "")
        elif isinstance(item, Steps):
            size += len(item.rows) * len(item.rows[0])
        else:
            size += len(item)
    return size


def prepare(
    items: Sequence[Item], version: ResolvedVersion, policy: LengthPolicy, field: str = "input"
) -> TokenizedInput:
    """Convert the items to token ids or numeric steps. Slow for long texts.

    `policy` specifies how input that is too long is handled. `field` is the name of the request field to which errors
    refer. Raises InvalidRequest.
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
    """Cut a text that is too long, but not the tokenizer's template around it. Other items are left unchanged."""
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
            f"{field}: {version.ref} reads numbers as [[[number]]], with {counted(width, 'number')} per step",
            param=field,
        )
    rows = cut(item.rows, field)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise InvalidRequest(
                f"the step at {place}[{i}] has {counted(len(row), 'number')}, but {version.ref} expects {width} "
                "per step",
                param=field,
            )
    try:
        numbers = array("d", [number for row in rows for number in row])
    except (TypeError, OverflowError):
        raise InvalidRequest(f"{field} contains a value that is not a float32 number", param=field) from None
    if not all(abs(number) <= LARGEST for number in numbers):  # the comparison is false for NaN
        raise InvalidRequest(f"{field} contains a number that is NaN or outside the range of float32", param=field)
    return wire.FeatureSequence(len(rows), width, numbers.tobytes(), "f8")
