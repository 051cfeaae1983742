"""Which regular expressions a tokenizer.json may hold: those of public tokenizers, letter by letter.

The library's regular expressions backtrack, and one that a stranger wrote can take hours over a text of a few lines.
Of a list one knows that each takes a time in proportion to the text. Works on parsed JSON; encodes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import CheckpointInvalid

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SMALL_ENDINGS = r"'s|'t|'re|'ve|'m|'ll|'d"
_BEGUN = r"[^\r\n\p{L}\p{N}]?"
_CAPITALS, _LETTERS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _cased(ending: str, digits: str, marks: str) -> str:
    """Words split where a capital begins (o200k and its kin)."""
    words = f"{_BEGUN}{_CAPITALS}*{_LETTERS}+{ending}|{_BEGUN}{_CAPITALS}+{_LETTERS}*{ending}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+{marks}|{_SPACES}"


KNOWN = frozenset(
    (
        r"[\s\S]",  # one character
        r"\s+",  # CLIP
        " {2,}",  # SentencePiece
        r"\p{N}",  # StarCoder
        r"\p{N}{1,3}",  # DeepSeek
        "[0-9][0-9][0-9]",  # Falcon
        " ?[^(\\s|[.,!?…。，、।۔،])]+",  # BLOOM
        "[一-龥぀-ゟ゠-ヿ]+",  # DeepSeek
        rf"{_SMALL_ENDINGS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+",  # CLIP
        rf"{_SMALL_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+",  # GPT-2
        rf"{_ENDINGS}|{_BEGUN}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}",  # cl100k, Llama 3
        rf"{_ENDINGS}|{_BEGUN}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}",  # Qwen 2, Qwen 3
        _cased(f"{_ENDINGS}?", r"\p{N}{1,3}", r"[\r\n/]*"),  # o200k, Llama 4
        _cased("", r"\p{N}{1,3}", r"[\r\n/]*"),
        _cased("", r"\p{N}", r"[\r\n/]*"),  # Mistral
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
        + _SPACES,  # DeepSeek
    )
)
PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


def check(definition: Mapping[str, Any]) -> None:
    """`definition`: a tokenizer.json. Raises CheckpointInvalid, which names what is not known."""
    for pattern in _patterns([definition.get(part) for part in PARTS]):
        if pattern not in KNOWN:
            shown = ascii(pattern if len(pattern) <= 100 else f"{pattern[:100]}…")
            raise CheckpointInvalid(
                f"tokenizer.json splits or replaces by the regular expression {shown}, which is none of those that are "
                "known to be safe (GPT-2, Llama, Qwen, Mistral, DeepSeek and their kin); use one of theirs, or none",
                param="tokenizer.json",
            )


def _patterns(left: list[Any]) -> Iterator[str]:
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            left += value.values()
            if isinstance(pattern := value.get("Regex"), str):
                yield pattern
