"""The regular expressions that a tokenizer.json may contain, taken from public tokenizers.

All other expressions are rejected. The tokenizers library matches with backtracking, so a malicious expression can take
hours even on a short text. For the expressions in this list, the time is proportional to the length of the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import CheckpointInvalid

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SMALL_ENDINGS = r"'s|'t|'re|'ve|'m|'ll|'d"
_PREFIX = r"[^\r\n\p{L}\p{N}]?"
_CAPITALS, _LETTERS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _cased(ending: str, digits: str, marks: str) -> str:
    """Return a variant of o200k's regular expression, which also splits words before a capital letter."""
    words = f"{_PREFIX}{_CAPITALS}*{_LETTERS}+{ending}|{_PREFIX}{_CAPITALS}+{_LETTERS}*{ending}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+{marks}|{_SPACES}"


LLAMA = rf"{_ENDINGS}|{_PREFIX}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"  # cl100k, Llama 3
QWEN = rf"{_ENDINGS}|{_PREFIX}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"  # Qwen 2, Qwen 3
# Equivalents of Python regular expressions that split texts into words. Python's \w is a letter, number or underscore.
WORDS = {
    "words": r"[\p{L}\p{N}_]+",  # \w+
    "words_and_punctuation": r"[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]+",  # \w+|[^\w\s]+
    "words_and_marks": r"[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]",  # \w+|[^\w\s]
}
KERAS_PUNCTUATION = r"[!\"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']"  # one character that TextVectorization of Keras removes
SAFE = frozenset(
    (
        r"[\s\S]",  # one character
        KERAS_PUNCTUATION,
        *WORDS.values(),
        r"\s+",  # CLIP
        " {2,}",  # SentencePiece
        r"\p{N}",  # StarCoder
        r"\p{N}{1,3}",  # DeepSeek
        "[0-9][0-9][0-9]",  # Falcon
        " ?[^(\\s|[.,!?…。，、।۔،])]+",  # BLOOM
        "[一-龥぀-ゟ゠-ヿ]+",  # DeepSeek
        rf"{_SMALL_ENDINGS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+",  # CLIP
        rf"{_SMALL_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+",  # GPT-2
        LLAMA,
        QWEN,
        _cased(f"{_ENDINGS}?", r"\p{N}{1,3}", r"[\r\n/]*"),  # o200k, Llama 4
        _cased("", r"\p{N}{1,3}", r"[\r\n/]*"),
        _cased("", r"\p{N}", r"[\r\n/]*"),  # Mistral
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
        + _SPACES,  # DeepSeek
    )
)
PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


def check(definition: Mapping[str, Any]) -> None:
    """Check the regular expressions in a parsed tokenizer.json.

    Raises CheckpointInvalid for an expression that is not in `SAFE`. The message shows the expression.
    """
    for pattern in _find_patterns([definition.get(part) for part in PARTS]):
        if pattern not in SAFE:
            shown = ascii(pattern if len(pattern) <= 100 else f"{pattern[:100]}…")
            raise CheckpointInvalid(
                f"tokenizer.json has the regular expression {shown}, which may be unsafe; only those of GPT-2, Llama, "
                "Qwen, Mistral, DeepSeek and similar tokenizers are allowed",
                param="tokenizer.json",
            )


def _find_patterns(values: list[Any]) -> Iterator[str]:
    """Yield all regular expressions in nested JSON. Does not recurse, because the JSON may be deeply nested."""
    stack = list(values)
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack += value
        elif isinstance(value, dict):
            stack += value.values()
            if isinstance(pattern := value.get("Regex"), str):
                yield pattern
