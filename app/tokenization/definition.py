"""The files that define a tokenizer: the tokenizer.json, and the files next to it that name special tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from app import strict_json
from app.errors import CheckpointInvalid

FILE = "tokenizer.json"
CONFIGS = ("tokenizer_config.json", "special_tokens_map.json", "config.json")


@dataclass(frozen=True, slots=True)
class Definition:
    """The content of a tokenizer.json, and the JSON objects that may name special tokens."""

    text: str
    configs: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a tokenizer.json, given its path or directory, and the files next to it that name special tokens.

        Raises CheckpointInvalid if the tokenizer.json cannot be read.
        """
        path = Path(path)
        file = path / FILE if path.is_dir() else path
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointInvalid(f"{FILE} cannot be read: {type(error).__name__}", param=FILE) from None
        return cls(text, tuple(_objects(file.parent)))

    def parse(self) -> dict[str, Any]:
        """Return the content of the tokenizer.json. Raises JsonInvalid if it is not valid JSON."""
        value: dict[str, Any] = strict_json.parse(self.text.encode(), values=strict_json.VOCABULARY_VALUES)
        return value


def _objects(directory: Path) -> Iterator[Mapping[str, Any]]:
    for name in CONFIGS:
        try:
            value = strict_json.parse((directory / name).read_bytes(), values=strict_json.VOCABULARY_VALUES)
        except (OSError, ValueError):
            continue
        if isinstance(value, dict):
            yield value
