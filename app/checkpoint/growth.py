"""Computes how much a tokenizer's components can lengthen a text in the worst case, without running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Components that neither change nor add characters.
KEEPING = ("Digits", "Fuse", "Punctuation", "Split", "Strip", "Whitespace", "WhitespaceSplit")


def growth(components: Sequence[Mapping[str, Any]]) -> float:
    """Return the maximum number of characters that replacements and additions can produce from one character.

    The components are processed backwards: a character's weight is the number of characters that the later components
    produce from it. Characters added by Unicode normalization or lowercasing are not counted.
    """
    weights: dict[str, float] = {}  # the weights of characters that occur in patterns
    rest = 1.0  # the weight of every other character
    for component in reversed(components):
        if component["type"] == "Replace":
            weights, rest = _replace(component, weights, rest)
        elif component["type"] == "Prepend":  # adds a text before each piece, even before one of a single character
            added = _weigh(str(component.get("prepend")), weights, rest)
            weights, rest = {c: weight + added for c, weight in weights.items()}, rest + added
        elif component["type"] not in KEEPING:  # may turn a character into any character of a later pattern
            weights, rest = {}, max(rest, *weights.values(), 1.0)
    return max(rest, *weights.values(), 1.0)


def _replace(component: Mapping[str, Any], weights: Mapping[str, float], rest: float) -> tuple[dict[str, float], float]:
    pattern, after = component.get("pattern"), _weigh(str(component.get("content")), weights, rest)
    literal = pattern.get("String") if isinstance(pattern, dict) else None
    if not isinstance(literal, str):  # a regular expression, which may match any character
        return {c: max(weight, after) for c, weight in weights.items()}, max(rest, after)
    share = after / len(literal) if literal else float("inf")
    return {**weights, **{c: max(weights.get(c, rest), share) for c in literal}}, rest if literal else share


def _weigh(text: str, weights: Mapping[str, float], rest: float) -> float:
    return sum(weights.get(character, rest) for character in text)
