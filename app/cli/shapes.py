"""Selects and formats the configuration fields that a version's architecture uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A linear model has no layers, no width and no pooling; its configuration has the defaults of these fields.
LINEAR_FIELDS = (
    "architecture", "task", "input", "vocab_size", "classes", "labels", "context_length", "ngram_buckets",
    "ngram_characters", "ngram_words",
)  # fmt: skip


def used_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration fields that the architecture uses."""
    linear = config.get("architecture") == "linear"
    return {name: value for name, value in config.items() if not linear or name in LINEAR_FIELDS}


def shape_of(config: Mapping[str, Any]) -> str:
    """A network's size in one line, such as `layers 2, width 256`, or a linear model's n-grams."""
    if config.get("architecture") != "linear":
        return ", ".join(f"{key} {config[key]}" for key in ("layers", "width", "vocab_size") if config.get(key))
    parts = [f"{config.get('ngram_buckets', 0):,} buckets"]
    if (characters := config.get("ngram_characters", 0)) > 1:
        parts.append(f"n-grams of 2 to {characters} characters" if characters > 2 else "n-grams of 2 characters")
    if words := config.get("ngram_words", 0):
        parts.append(f"n-grams of 1 to {words} words" if words > 1 else "single words")
    return ", ".join(parts)
