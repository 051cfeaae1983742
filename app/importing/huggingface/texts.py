"""Reads the tokenizer of a Hugging Face directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app import strict_json
from app.checkpoint import patterns, tokenizer_rules
from app.importing.huggingface.directory import read_json, read_object
from app.importing.huggingface.word_piece import WORDS, word_piece
from app.importing.pytorch.tensors import Array, ForeignFileInvalid
from app.tokenization.definition import FILE
from app.tokenization.tokenizer import Tokenizer
from app.wording import quantity

MOST_TOKENS = 2**20  # a longer model_max_length means "no limit"


def read_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer in tokenizer.json or, if there is no such file, in vocab.txt.

    The tokenizer's parts are checked before it is built. Raises CheckpointInvalid or ForeignFileInvalid if both
    files are missing, or if the tokenizer is not supported.
    """
    if (folder / FILE).is_file():
        definition = read_json(folder / FILE, strict_json.VOCABULARY_VALUES)
    elif (folder / WORDS).is_file():
        definition = word_piece(folder)
    else:
        raise ForeignFileInvalid(
            f"{folder} has no {FILE}; create it from the directory's other tokenizer files with "
            f"transformers: AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
    if not isinstance(definition, dict):
        raise ForeignFileInvalid(f"{FILE} must contain a JSON object")
    patterns.check(definition)
    tokenizer_rules.check(definition)
    if (folder / FILE).is_file():
        return Tokenizer.load(folder)
    return Tokenizer(json.dumps(definition, ensure_ascii=False))


def check_size(tokenizer: Tokenizer, rows: int) -> None:
    """Raise ForeignFileInvalid if the tokenizer has ids without a row in the embedding."""
    if tokenizer.vocab_size > rows:
        raise ForeignFileInvalid(
            f"{FILE} has token ids up to {tokenizer.vocab_size - 1}, but the embedding has {quantity(rows, 'row')}"
        )


def longest_text(folder: Path) -> int | None:
    """Return the maximum number of tokens that tokenizer_config.json sets for a text, or None if it sets no limit."""
    limit: Any = read_object(folder / "tokenizer_config.json").get("model_max_length")
    return int(limit) if isinstance(limit, int | float) and 0 < limit < MOST_TOKENS else None


def separator_of(tokenizer: Tokenizer, types: Array) -> int | None:
    """Return the token that separates the two token types in a pair of texts, or None if all tokens have type 0.

    Raises ForeignFileInvalid if the positions of a single token do not determine the types, or if a type has no row in
    `types`.
    """
    ids, numbers = tokenizer.token_types("a", "b")
    if not any(numbers):
        return None
    separator = int(ids[numbers.index(1) - 1]) if 1 in numbers else -1
    expected = [min(ids[:index].count(separator), len(types) - 1) for index in range(len(ids))]
    if numbers != expected:
        raise ForeignFileInvalid(
            f"{FILE}: its template assigns token types {numbers} to a pair, which is not supported"
        )
    return separator
