"""Caches the tokens of words, which makes the tokenization of short texts several times faster.

A byte-level tokenizer splits a text into words and encodes each word separately. Most words have occurred before, so
their tokens are already cached. Texts are split as by GPT-2 (Radford et al., 2019) and by the library's `ByteLevel`
pre-tokenizer. Python's `re` does not support Unicode categories, so the expression in this module lists the letters and
numbers of the alphabets that it covers. All other texts are encoded by the library.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

SHORT = 16_000  # maximum characters encoded here at once; more are encoded by the library, which releases the GIL
LONGEST_WORD = 32  # maximum number of characters of a remembered word
REMEMBERED = 2**14  # maximum number of remembered words, which need about 4 MB
LEARNED = 8  # maximum number of words that are learned from one text, so that a text of new words costs little more

# Latin, Greek and Cyrillic letters with the usual punctuation, in Unicode ranges that no longer change
COVERED = ((0x0, 0x52F), (0x2010, 0x2027), (0x20AC, 0x20AC))
SPACES = "\t\n\v\f\r \x85\xa0"
Encode = Callable[[Sequence[str]], list[list[int]]]


def _members(kind: str) -> str:
    """Return the covered characters of a Unicode category, such as L for letters, escaped for a character class."""
    characters = (chr(code) for first, last in COVERED for code in range(first, last + 1))
    return "".join(re.escape(c) for c in characters if unicodedata.category(c).startswith(kind))


_COVERED = re.compile(f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in COVERED)}]*")
_L, _N, _S = _members("L"), _members("N"), SPACES
_WORD = re.compile(rf"'(?:[sdmt]|ll|ve|re)| ?[{_L}]+| ?[{_N}]+| ?[^{_S}{_L}{_N}]+|[{_S}]+(?![^{_S}])|[{_S}]+")


def splits_into_words(definition: Mapping[str, Any]) -> bool:
    """Whether the tokenizer defined by this tokenizer.json encodes each word of a text independently of the others."""
    model, splitter = definition.get("model") or {}, definition.get("pre_tokenizer") or {}
    return (
        splitter.get("type") == "ByteLevel"
        and bool(splitter.get("use_regex", True))
        and not splitter.get("add_prefix_space", True)
        and not definition.get("normalizer")
        and not definition.get("post_processor")
        and not model.get("dropout")
        # added tokens that are not special match anywhere in a text, before it is split into words
        and all(token.get("special") for token in definition.get("added_tokens") or ())
    )


class WordTokens:
    """A cache of the tokens of recently encoded words. Thread-safe."""

    def __init__(self, encode: Encode) -> None:
        """`encode` is the library's function, which returns the token ids of each text."""
        self._encode = encode
        self._tokens: dict[str, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""
        encoded = [self.encode(text) for text in texts]
        if None not in encoded:
            return encoded  # type: ignore[return-value]
        others = iter(self._encode([text for text, ids in zip(texts, encoded, strict=True) if ids is None]))
        return [next(others) if ids is None else ids for ids in encoded]

    def encode(self, text: str) -> list[int] | None:
        """Return a text's token ids, or None if the library must encode it (other alphabets or many new words)."""
        if not _COVERED.fullmatch(text):
            return None
        words, tokens = _WORD.findall(text), self._tokens
        try:
            return list(chain.from_iterable([tokens[word] for word in words]))
        except KeyError:
            new = [word for word in dict.fromkeys(words) if word not in tokens]
        learned = self._learn(new[:LEARNED])
        if len(new) > LEARNED:
            return None
        return list(chain.from_iterable([learned[word] if word in learned else tokens[word] for word in words]))

    def _learn(self, words: list[str]) -> dict[str, tuple[int, ...]]:
        learned = dict(zip(words, map(tuple, self._encode(words)), strict=True))
        if len(self._tokens) + len(words) > REMEMBERED:
            self._tokens = {}  # not cleared, because other threads may be using it
        self._tokens.update({word: ids for word, ids in learned.items() if len(word) <= LONGEST_WORD})
        return learned
