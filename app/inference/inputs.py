"""The inputs of a request: parsed from JSON, checked, tokenized, and cut to a version's context length."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.errors import InvalidRequest
from app.inference.versions import ResolvedVersion
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pair of texts as one input, or a single text if `text_pair` is missing."""

    text: str
    text_pair: str | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """One numeric sequence, with one row of numbers per step."""

    rows: list[list[float]]


LARGEST = 3.4028234663852886e38  # the largest float32
Item = str | Pair | list[int] | Steps
SHAPES = (
    "a text, a list of texts, {text, text_pair} objects, token ids, a list of lists of token ids, "
    "or numbers as [[[number]]] (batch, time, feature)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthPolicy:
    """Specifies how input that is too long is handled.

    `truncate`: None rejects the input, -1 cuts it to the version's context length, n cuts it to n tokens. `side` is the
    end that is cut off. `continuation` is the number of tokens to generate; if they share the context with the prompt,
    a `truncate` of -1 leaves room for them. If `special` is true, the tokenizer's template is added around each text.
    The template is never cut.
    """

    truncate: int | None = None
    side: str = "right"
    continuation: int = 0
    special: bool = True


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
        raise InvalidRequest(f"{field} can be {SHAPES}", param=field)
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
        raise InvalidRequest(f"{field} mixes texts, token ids and numbers; send one kind", param=field)
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
    raise InvalidRequest(
        f"{field} is {'empty' if value == [] else 'of the wrong form'}; it can be {SHAPES}", param=field
    )


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
    cut = _cutter(version, policy, field)
    one = len(items) == 1
    if version.config.input == "features":
        return TokenizedInput(
            [], [_steps(x, version, cut, field if one else f"{field}[{i}]") for i, x in enumerate(items)]
        )
    if policy.truncate is None:
        _check_characters(items, version, field)
    encoded = _encode(items, version, policy, field)
    sequences = []
    for i, ids in enumerate(encoded):
        place = field if one else f"{field}[{i}]"
        if not ids and items[i] == "":
            ids = _start(version)
        if not ids:
            raise InvalidRequest(f"{place} contains no token of the vocabulary of {version.ref}", param=field)
        sequences.append(cut(ids, place))
    return TokenizedInput(sequences, [])


def _start(version: ResolvedVersion) -> list[int]:
    """Return the ids for an empty prompt: the end token, because in training each text follows an end token."""
    tokenizer = version.tokenizer
    return [] if tokenizer is None or tokenizer.eos_id is None else [tokenizer.eos_id]


def _cutter(version: ResolvedVersion, policy: LengthPolicy, field: str) -> Callable[[list[Any], str], list[Any]]:
    context, truncate = version.config.context_length, policy.truncate
    if truncate is not None and truncate > context:
        raise InvalidRequest(
            f"truncate_prompt_tokens is {truncate}, but {version.ref} takes at most {context} tokens; "
            "-1 cuts to that length",
            param="truncate_prompt_tokens",
        )
    if truncate == 0:
        raise InvalidRequest(
            "truncate_prompt_tokens is 0, which leaves nothing of the input; it must be 1 or more, or -1",
            param="truncate_prompt_tokens",
        )
    if truncate is None:

        def refuse(sequence: list[Any], place: str) -> list[Any]:
            if len(sequence) > context:
                raise _too_long(f"{place} has {len(sequence)} tokens", version, field)
            return sequence

        return refuse
    size = _size(version, policy)
    if policy.side == "left":
        return lambda sequence, _: sequence[max(0, len(sequence) - size) :]
    return lambda sequence, _: sequence[:size]


def _size(version: ResolvedVersion, policy: LengthPolicy) -> int:
    """Return the number of tokens to which `policy` cuts input."""
    if policy.truncate is not None and policy.truncate >= 0:
        return policy.truncate
    shared = 0 if version.config.position_limit is None else policy.continuation
    return max(1, version.config.context_length - shared)


def _check_characters(items: Sequence[Item], version: ResolvedVersion, field: str) -> None:
    """Before tokenization, reject a text that would be too long even if all its tokens had the maximum length."""
    longest = None if version.tokenizer is None else version.tokenizer.longest
    if longest is None:
        return
    most = version.config.context_length * longest
    for i, item in enumerate(items):
        if isinstance(item, str) and len(item) > most:
            place = field if len(items) == 1 else f"{field}[{i}]"
            raise _too_long(f"{place} has at least {-(-len(item) // longest)} tokens", version, field)


def _too_long(finding: str, version: ResolvedVersion, field: str) -> InvalidRequest:
    return InvalidRequest(
        f"{finding}, but {version.ref} takes {version.config.context_length} at most; shorten it, or send "
        "truncate_prompt_tokens (-1 cuts to that length)",
        code="context_length_exceeded",
        param=field,
    )


def _encode(items: Sequence[Item], version: ResolvedVersion, policy: LengthPolicy, field: str) -> list[list[int]]:
    tokenizer = version.tokenizer
    if tokenizer is None or any(isinstance(item, Steps) for item in items):
        raise InvalidRequest(f"{field}: {version.ref} reads text or token ids, not numbers", param=field)
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) == len(items):
        sequences = tokenizer.encode_batch(texts, policy.special)
    else:
        sequences, encoded = [], iter(tokenizer.encode_batch(texts, policy.special))
        for item in items:
            if isinstance(item, str):
                sequences.append(next(encoded))
            elif isinstance(item, Pair):
                sequences.append(tokenizer.encode_pair(item.text, item.text_pair or "", policy.special))
            elif isinstance(item, list):
                sequences.append(_checked(item, version.config.vocab_size, field))
    if tokenizer.template and policy.special and policy.truncate is not None:
        size = _size(version, policy)
        return [
            _within(size, policy.side, item, tokenizer) if len(ids) > size else ids
            for item, ids in zip(items, sequences, strict=True)
        ]
    return sequences


def _within(size: int, side: str, item: Item, tokenizer: Tokenizer) -> list[int]:
    """Cut a text that is too long, but not the tokenizer's template around it. Token ids are left unchanged."""
    if isinstance(item, str):
        return tokenizer.encode_within(size, side, item)
    if isinstance(item, Pair):
        return tokenizer.encode_within(size, side, item.text, item.text_pair or "")
    return item if isinstance(item, list) else []


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
            f"{field}: {version.ref} reads numbers as [[[number]]], with {width} per step", param=field
        )
    rows = cut(item.rows, field)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise InvalidRequest(
                f"the step at {place}[{i}] has {len(row)} numbers, but {version.ref} takes {width} per step",
                param=field,
            )
    try:
        numbers = array("d", [number for row in rows for number in row])
    except (TypeError, OverflowError):
        raise InvalidRequest(f"{field} contains a value that is not a float32 number", param=field) from None
    if not all(abs(number) <= LARGEST for number in numbers):  # the comparison is false for NaN
        raise InvalidRequest(f"{field} contains a number that is NaN or outside the range of float32", param=field)
    return wire.FeatureSequence(len(rows), width, numbers.tobytes(), "f8")
