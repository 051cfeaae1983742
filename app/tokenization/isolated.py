"""Tokenizers that encode texts in child processes.

Used for all tokenizers except those of the kinds that this service trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.errors import CheckpointInvalid
from app.strict_json import JsonInvalid
from app.tokenization.children import Children, key_of
from app.tokenization.definition import FILE, Definition
from app.tokenization.messages import Read
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.vocabulary import is_plain


class IsolatedTokenizer(Tokenizer):
    """A tokenizer that encodes texts in a child process, and decodes ids in this process."""

    def __init__(self, definition: Definition, children: Children) -> None:
        """Load the tokenizer: first in a child process with limits, then in this process. Raises CheckpointInvalid."""
        children.check(definition)
        super().__init__(definition.text, definition.configs)
        self._source, self._children, self._key = definition, children, key_of(definition)

    def encode_batch(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """Encode each text. Raises InvalidRequest (`invalid_text`, `text_too_long`)."""
        return self._read(Read(self._key, "batch", list(texts), special)) if texts else []

    def encode_pair(self, text: str, text_pair: str, special: bool = True) -> list[int]:
        return self._read(Read(self._key, "pair", [text, text_pair], special))[0]

    def encode_within(self, size: int, side: str, *texts: str) -> list[int]:
        return self._read(Read(self._key, "within", list(texts), size=size, side=side))[0]

    def _read(self, request: Read) -> list[list[int]]:
        return self._children.read(request, self._source)


def load(directory: Path, children: Children) -> Tokenizer:
    """Load the tokenizer of a checkpoint. Raises CheckpointInvalid."""
    definition = Definition.read(directory)
    try:
        parsed = definition.parse()
    except JsonInvalid as error:
        raise CheckpointInvalid(f"{FILE} is not valid JSON: {error}", param=FILE) from None
    if is_plain(parsed) and not parsed.get("post_processor"):
        tokenizer = Tokenizer(definition.text, definition.configs)
        if tokenizer.quick:
            return tokenizer
    return IsolatedTokenizer(definition, children)
