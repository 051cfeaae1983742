"""Decodes JSON objects, and counts those that repeat a name, because JSON parsers keep only the name's last value."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from app.training.data.files import Source


@dataclass(slots=True)
class RepeatedNames:
    """Decodes the JSON records of a file, and counts those in which an object repeats a name."""

    source: Source
    records: int = 0
    first: str = ""  # the place of the first record that repeats a name
    name: str = ""  # the name that this record repeats
    _pending: str | None = None  # a name that is repeated in the value that was decoded last
    decoder: json.JSONDecoder = field(init=False)

    def __post_init__(self) -> None:
        self.decoder = json.JSONDecoder(object_pairs_hook=self._object)

    def count(self, where: str) -> None:
        """Count the last decoded value, which is at `where`, if an object in it repeats a name."""
        if self._pending is not None:
            self.records += 1
            self.first, self.name = self.first or where, self.name or self._pending
            self._pending = None

    def remark(self) -> None:
        """Add a remark about the repeated names, if there are any."""
        if self.records:
            message = f"an object has the key {self.name!r} twice; only the key's last value is read "
            message += f"(records: {self.records:,})"
            self.source.remark("repeated_names", message, self.first, self.records, "warn")

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            names = [name for name, _ in pairs]
            self._pending = next(name for name in names if names.count(name) > 1)
        return value
