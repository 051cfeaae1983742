"""Prepared data: ragged rows or one long stream, as numbers, on disk and mapped into memory.

Knows arrays; knows no files of people's and no network.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.checkpoint import directory as checkpoint
from app.training.data.number_file import NumberFile, mapped

TOKENIZER = "tokenizer.json"


def _none() -> NDArray[np.uint8]:
    return np.zeros(0, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Rows:
    """Sequences of different lengths, end to end, with what is to be learned of each.

    `flat` holds token ids (int32), or numeric steps (float32, steps by features). `targets_N`: a class (int64), a
    value (float32, standardised) or a row of zeros and ones (uint8, N by C). `learned`: for completions, 1 for each
    token of `flat` that is to be learned and not only given; the targets are empty there.
    """

    flat: NDArray[Any]
    offsets_N1: NDArray[np.int64]
    targets_N: NDArray[Any]
    learned: NDArray[np.uint8] = field(default_factory=_none)
    characters: int = 0  # of what is learned

    def __len__(self) -> int:
        return len(self.offsets_N1) - 1

    @property
    def lengths_N(self) -> NDArray[np.int64]:
        return np.diff(self.offsets_N1)

    def row(self, index: int) -> NDArray[Any]:
        return self.flat[self.offsets_N1[index] : self.offsets_N1[index + 1]]

    def answer(self, index: int) -> NDArray[np.uint8]:
        """Which tokens of a row are to be learned."""
        return self.learned[self.offsets_N1[index] : self.offsets_N1[index + 1]]


def kept_part(rows: Rows, index: int, limit: int) -> slice:
    """What is kept of a row of a completion where `limit` tokens can be read: an over-long one loses the start of its
    prompt, then the end of what is learned."""
    learned = rows.answer(index)
    start = max(0, min(len(learned) - 1 - limit, int(learned.argmax()) - 1))
    return slice(start, start + limit + 1)


@dataclass(frozen=True, slots=True)
class Stream:
    """A text as one sequence of ids. `context` of them come before the text proper and are given, not predicted."""

    ids_T: NDArray[np.int32]
    characters: int
    context: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the network and the model card must know of the data. JSON values only.

    `blank`: the token that stands for one that is not to be seen, where the tokenizer has one; `specials`: tokens that
    are no text.
    """

    task: str
    input: str  # tokens | features
    shape: str  # rows | completions | stream
    labels: list[str] = field(default_factory=list)
    label_counts: list[int] = field(default_factory=list)
    vocab_size: int = 0
    tokenizer: str = ""
    blank: int | None = None
    specials: list[int] = field(default_factory=list)
    features: int = 0
    normalization: dict[str, list[float]] | None = None
    target: dict[str, float] | None = None
    chat_template: str | None = None
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Train, validation and (where there is one) test data, ready for the loop. `tokenizer` is a file beside it."""

    facts: Facts
    train: Rows | Stream
    validation: Rows | Stream
    test: Rows | Stream | None
    tokenizer: Path | None

    @property
    def parts(self) -> dict[str, Rows | Stream]:
        held = {"train": self.train, "validation": self.validation}
        return held if self.test is None else held | {"test": self.test}


def file_of(directory: Path, part: str, name: str) -> Path:
    """Where an array of a part lies, once it is there."""
    return directory / f"{part}.{name}.bin"


def save(directory: Path, aside: Path, prepared: Dataset) -> Dataset:
    """Make `directory` of `aside`, whole or not at all, and return what later attempts will find.

    Large arrays lie in `aside` already; everything else there goes.
    """
    parts: dict[str, Any] = {}
    kept = {TOKENIZER}
    for name, part in prepared.parts.items():
        arrays = _arrays(part)
        for key, array in arrays.items():
            path = file_of(aside, name, key)
            if not path.exists():
                file = NumberFile(path, array.dtype, *array.shape[1:])
                file.append(array)
                file.close()
            kept.add(path.name)
        sizes = {"characters": part.characters, "context": getattr(part, "context", 0)}
        parts[name] = sizes | {"arrays": {key: [str(a.dtype), list(a.shape)] for key, a in arrays.items()}}
    for path in aside.iterdir():
        if path.name not in kept:
            path.unlink()
    checkpoint.write_json(aside / "facts.json", {"facts": asdict(prepared.facts), "parts": parts})
    shutil.rmtree(directory, ignore_errors=True)
    os.rename(aside, directory)
    checkpoint.sync_directory(directory.parent)
    return load(directory)


def load(directory: Path) -> Dataset:
    stored = json.loads((directory / "facts.json").read_text())
    parts = {name: _part(directory, name, sizes) for name, sizes in stored["parts"].items()}
    tokenizer = directory / TOKENIZER
    return Dataset(
        Facts(**stored["facts"]),
        parts["train"],
        parts["validation"],
        parts.get("test"),
        tokenizer if tokenizer.exists() else None,
    )


def _arrays(part: Rows | Stream) -> dict[str, NDArray[Any]]:
    if isinstance(part, Stream):
        return {"ids_T": part.ids_T}
    return {
        "flat": part.flat,
        "offsets_N1": part.offsets_N1,
        "targets_N": part.targets_N,
        "learned": part.learned,
    }


def _part(directory: Path, name: str, sizes: dict[str, Any]) -> Rows | Stream:
    arrays = {
        key: mapped(file_of(directory, name, key), dtype, tuple(shape))
        for key, (dtype, shape) in sizes["arrays"].items()
    }
    if "ids_T" in arrays:
        return Stream(arrays["ids_T"], sizes["characters"], sizes["context"])
    return Rows(**arrays, characters=sizes["characters"])
