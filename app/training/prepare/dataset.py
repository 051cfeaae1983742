"""The prepared data: rows, or one long stream, stored on disk in arrays that are mapped into memory."""

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
from app.training.data.number_file import NumberFile, map_file

TOKENIZER = "tokenizer.json"


def _empty() -> NDArray[np.uint8]:
    return np.zeros(0, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Rows:
    """N concatenated sequences of different lengths, with their targets.

    `flat` contains token ids (int32) or numeric steps (float32, steps by features). For each sequence, `targets_N`
    contains a class index (int64), a standardised value (float32), or a row of zeros and ones (uint8, N by C). For
    completions, `targets_N` is empty, and `learned` contains 1 for each token of `flat` over which the loss is
    computed, and 0 for context.
    """

    flat: NDArray[Any]
    offsets_N1: NDArray[np.int64]  # sequence i is flat[offsets_N1[i] : offsets_N1[i + 1]]
    targets_N: NDArray[Any]
    learned: NDArray[np.uint8] = field(default_factory=_empty)
    characters: int = 0  # the number of characters in the learned text

    def __len__(self) -> int:
        return len(self.offsets_N1) - 1

    @property
    def lengths_N(self) -> NDArray[np.int64]:
        """The lengths of all sequences."""
        return np.diff(self.offsets_N1)

    def row(self, index: int) -> NDArray[Any]:
        """Return the tokens or steps of one sequence."""
        return self.flat[self.offsets_N1[index] : self.offsets_N1[index + 1]]

    def answer(self, index: int) -> NDArray[np.uint8]:
        """Return a mask of the learned tokens in one sequence."""
        return self.learned[self.offsets_N1[index] : self.offsets_N1[index + 1]]


def kept_part(rows: Rows, index: int, limit: int) -> slice:
    """Return the slice of a completion that is kept if the network reads at most `limit` tokens.

    If the row is too long, the start of its prompt is cut first, then the end of its learned part. The slice has up to
    `limit` + 1 tokens, because the last token is only predicted, not read.
    """
    learned = rows.answer(index)
    start = max(0, min(len(learned) - 1 - limit, int(learned.argmax()) - 1))
    return slice(start, start + limit + 1)


@dataclass(frozen=True, slots=True)
class Stream:
    """A text as one sequence of token ids. The first `context` ids precede the text; they are read but not learned."""

    ids_T: NDArray[np.int32]
    characters: int
    context: int = 0


def token_count(part: Rows | Stream) -> int:
    """Return the number of tokens or numeric steps in a part."""
    return int(part.offsets_N1[-1]) if isinstance(part, Rows) else len(part.ids_T)


def sample(part: Rows | Stream, most: int) -> Rows | Stream:
    """Return at most `most` evenly spaced rows, or the first `most` tokens of a text, with its context."""
    if isinstance(part, Stream):
        ids_T = part.ids_T[: part.context + most]
        return part if len(ids_T) == len(part.ids_T) else Stream(ids_T, 0, part.context)
    if len(part) <= most:
        return part
    chosen = np.linspace(0, len(part) - 1, most).astype(np.int64)
    return Rows(
        np.concatenate([part.row(int(i)) for i in chosen]),
        np.concatenate([[0], np.cumsum(part.lengths_N[chosen])]),
        part.targets_N[chosen] if len(part.targets_N) else part.targets_N,
        np.concatenate([part.answer(int(i)) for i in chosen]) if len(part.learned) else part.learned,
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about the data, used for the network and the model card. All values are JSON values.

    `blank` is the id of the token that replaces dropped tokens (token dropout), or None if the tokenizer has no such
    token. `specials` are the ids of the tokens that do not represent text. `eos_token` is None if the end token
    has one of the usual names.
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
    normalization: dict[str, Any] | None = None
    target: dict[str, float] | None = None
    chat_template: str | None = None
    eos_token: str | None = None
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dataset:
    """The data of a training run: train, validation and, if any, test data.

    `tokenizer` is the path of the tokenizer file; None for numeric features.
    """

    facts: Facts
    train: Rows | Stream
    validation: Rows | Stream
    test: Rows | Stream | None
    tokenizer: Path | None

    @property
    def parts(self) -> dict[str, Rows | Stream]:
        """The parts that exist, keyed by name."""
        parts = {"train": self.train, "validation": self.validation}
        return parts if self.test is None else parts | {"test": self.test}


def array_path(directory: Path, part: str, name: str) -> Path:
    """Return the path of the array called `name` in a part. Parts are named after splits, such as `train`."""
    return directory / f"{part}.{name}.bin"


def save(directory: Path, staging: Path, dataset: Dataset) -> Dataset:
    """Complete the folder `staging` and rename it to `directory`.

    At any moment, `directory` is either complete or absent, so that a partial dataset is never visible. Arrays that
    were built on disk are already in `staging`. This function writes the remaining arrays and deletes all other files
    in `staging`. Returns the same dataset that a later attempt will load.
    """
    parts: dict[str, Any] = {}
    kept = {TOKENIZER}
    for name, part in dataset.parts.items():
        arrays = _arrays(part)
        for key, array in arrays.items():
            path = array_path(staging, name, key)
            if not path.exists():
                file = NumberFile(path, array.dtype, *array.shape[1:])
                file.append(array)
                file.close()
            kept.add(path.name)
        sizes = {"characters": part.characters, "context": getattr(part, "context", 0)}
        parts[name] = sizes | {"arrays": {key: [str(a.dtype), list(a.shape)] for key, a in arrays.items()}}
    for path in staging.iterdir():
        if path.name not in kept:
            path.unlink()
    checkpoint.write_json(staging / "facts.json", {"facts": asdict(dataset.facts), "parts": parts})
    shutil.rmtree(directory, ignore_errors=True)
    os.rename(staging, directory)
    checkpoint.sync_directory(directory.parent)
    return load(directory)


def load(directory: Path) -> Dataset:
    """Load the dataset that `save` has written to `directory`."""
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
        key: map_file(array_path(directory, name, key), dtype, tuple(shape))
        for key, (dtype, shape) in sizes["arrays"].items()
    }
    if "ids_T" in arrays:
        return Stream(arrays["ids_T"], sizes["characters"], sizes["context"])
    return Rows(**arrays, characters=sizes["characters"])
