"""What a caller may send as input, and what of it reaches the network.

Knows texts, pairs, token ids, numeric steps and the limits of a version; knows no HTTP and no engine.
"""

from __future__ import annotations

import math
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
    """Two texts that are judged together; without `text_pair`, one text."""

    text: str
    text_pair: str | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """One numeric sequence: rows of equally many numbers."""

    rows: list[list[float]]


Item = str | Pair | list[int] | Steps
SHAPES = (
    "a text, a list of texts, {text, text_pair} objects, token ids, a list of lists of token ids, "
    "or numbers as [[[number]]] (batch, time, feature)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthPolicy:
    """`truncate`: None refuses what is too long, -1 cuts to the version's context, n cuts to n tokens.
    `special`: whether the tokenizer's own template goes around a text; it is not cut."""

    truncate: int | None = None
    side: str = "right"  # which end is cut off
    continuation: int = 0  # tokens that are to follow: where they share the context, -1 leaves room for them
    special: bool = True


@dataclass(frozen=True, slots=True)
class TokenizedInput:
    sequences: list[list[int]]
    features: list[wire.FeatureSequence]

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids in self.sequences] or [f.steps for f in self.features]


def entries_of(value: Any, most: int) -> int:
    """Roughly how much work it is to parse a value of at most `most` items, in entries of lists."""
    if not isinstance(value, list):
        return 1
    return len(value) + sum(len(item) for item in value[:most] if isinstance(item, list))


def parse(value: Any, field: str, most: int, *, blank: bool = False) -> list[Item]:
    """The items of a request's `input`, whatever form it has. Raises InvalidRequest, which names the place.

    `blank`: whether a text may consist of white space (never of nothing).
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
        raise InvalidRequest(f"{field} holds {len(value)} items; {most} is the most in one request", param=field)
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
    if not (value if blank else value.strip()):
        raise InvalidRequest(f"{field} is empty", param=field)
    return value


def _pair(text: str, text_pair: str | None, field: str) -> Item:
    _text(text, field)
    return text if text_pair is None else Pair(text, _text(text_pair, f"{field}.text_pair"))


def size_of(items: Sequence[Item]) -> int:
    """Roughly how much work it is to prepare them, in characters, ids or numbers."""
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
    items: Sequence[Item], served: ResolvedVersion, limits: LengthPolicy, field: str = "input"
) -> TokenizedInput:
    """Token ids or float32 steps, cut or refused by the rules. May take long for long texts."""
    cut = _cutter(served, limits, field)
    one = len(items) == 1
    if served.config.input == "features":
        return TokenizedInput(
            [], [_steps(x, served, cut, field if one else f"{field}[{i}]") for i, x in enumerate(items)]
        )
    if limits.truncate is None:
        _check_characters(items, served, field)
    encoded = _encode(items, served, limits, field)
    sequences = []
    for i, ids in enumerate(encoded):
        place = field if one else f"{field}[{i}]"
        if not ids:
            raise InvalidRequest(f"{place} holds no token that {served.ref} knows", param=field)
        sequences.append(cut(ids, place))
    return TokenizedInput(sequences, [])


def _cutter(served: ResolvedVersion, limits: LengthPolicy, field: str) -> Callable[[list[Any], str], list[Any]]:
    context, truncate = served.config.context_length, limits.truncate
    if truncate is not None and truncate > context:
        raise InvalidRequest(
            f"truncate_prompt_tokens is {truncate}, but {served.ref} takes {context} tokens at most; "
            "-1 means that number",
            param="truncate_prompt_tokens",
        )
    if truncate is None:

        def refuse(sequence: list[Any], place: str) -> list[Any]:
            if len(sequence) > context:
                raise _too_long(f"{place} has {len(sequence)} tokens", served, field)
            return sequence

        return refuse
    size = _size(served, limits)
    if limits.side == "left":
        return lambda sequence, _: sequence[max(0, len(sequence) - size) :]
    return lambda sequence, _: sequence[:size]


def _size(served: ResolvedVersion, limits: LengthPolicy) -> int:
    """What `truncate` cuts to."""
    if limits.truncate is not None and limits.truncate >= 0:
        return limits.truncate
    shared = 0 if served.config.recurrent else limits.continuation
    return max(1, served.config.context_length - shared)


def _check_characters(items: Sequence[Item], served: ResolvedVersion, field: str) -> None:
    """Refuse, before it is read, a text that cannot fit however well its characters go into tokens."""
    longest = None if served.tokenizer is None else served.tokenizer.longest
    if longest is None:
        return
    most = served.config.context_length * longest
    for i, item in enumerate(items):
        if isinstance(item, str) and len(item) > most:
            place = field if len(items) == 1 else f"{field}[{i}]"
            raise _too_long(f"{place} has {-(-len(item) // longest)} tokens or more", served, field)


def _too_long(said: str, served: ResolvedVersion, field: str) -> InvalidRequest:
    return InvalidRequest(
        f"{said}, but {served.ref} takes {served.config.context_length} at most; shorten it, or send "
        "truncate_prompt_tokens (-1 cuts to that length)",
        code="context_length_exceeded",
        param=field,
    )


def _encode(items: Sequence[Item], served: ResolvedVersion, limits: LengthPolicy, field: str) -> list[list[int]]:
    tokenizer = served.tokenizer
    if tokenizer is None or any(isinstance(item, Steps) for item in items):
        raise InvalidRequest(f"{field}: {served.ref} reads text or token ids, not numbers", param=field)
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) == len(items):
        sequences = tokenizer.encode_batch(texts, limits.special)
    else:
        sequences, encoded = [], iter(tokenizer.encode_batch(texts, limits.special))
        for item in items:
            if isinstance(item, str):
                sequences.append(next(encoded))
            elif isinstance(item, Pair):
                sequences.append(tokenizer.encode_pair(item.text, item.text_pair or "", limits.special))
            elif isinstance(item, list):
                sequences.append(_checked(item, served.config.vocab_size, field))
    if tokenizer.template and limits.special and limits.truncate is not None:
        size = _size(served, limits)
        return [
            _within(size, limits.side, item, tokenizer) if len(ids) > size else ids
            for item, ids in zip(items, sequences, strict=True)
        ]
    return sequences


def _within(size: int, side: str, item: Item, tokenizer: Tokenizer) -> list[int]:
    """An item that is too long, cut so that the template around it stays whole. Token ids have none: `cut` does it."""
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
    item: Item, served: ResolvedVersion, cut: Callable[[list[Any], str], list[Any]], field: str
) -> wire.FeatureSequence:
    width = served.config.features
    place = field if field.endswith("]") else f"{field}[0]"  # a request is a list of sequences, even of one
    if not isinstance(item, Steps):
        raise InvalidRequest(f"{field}: {served.ref} reads numbers, [[[number]]], {width} in a step", param=field)
    rows = cut(item.rows, field)
    for i, row in enumerate(rows):
        if len(row) != width:
            said = f"the step at {place}[{i}] has {len(row)} of them"
            raise InvalidRequest(f"{said}, but {served.ref} takes {width} numbers in a step", param=field)
    try:
        numbers = array("f", [number for row in rows for number in row])
    except (TypeError, OverflowError):
        raise InvalidRequest(f"{field} holds something that is no float32 number", param=field) from None
    if not all(map(math.isfinite, numbers)):
        raise InvalidRequest(f"{field} holds a number beyond the range of float32", param=field)
    return wire.FeatureSequence(len(rows), width, numbers.tobytes())
