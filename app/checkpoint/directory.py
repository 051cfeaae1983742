"""The format of checkpoint directories: the files, the rules for their contents, and the digest of a directory.

Every file is treated as untrusted. Nothing in a directory is executed. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app import strict_json
from app.checkpoint import calibration, patterns, tokenizer_rules
from app.checkpoint.adapter import ADAPTER, LowRankAdapter, check_weights, load_merged, parse_adapter
from app.checkpoint.calibration import Calibration, parse_calibration
from app.checkpoint.configuration import parse_config
from app.errors import CheckpointInvalid
from models.config import ModelConfig

MiB = 2**20
WEIGHTS = "model.safetensors"
REQUIRED = ("config.json", WEIGHTS)
LIMITS = {  # the maximum size of each file in bytes; the size of the weights must also match their header
    "config.json": 8 * MiB,
    WEIGHTS: 2**40,
    ADAPTER: 2**40,
    "tokenizer.json": 64 * MiB,
    "labels.json": 8 * MiB,
    "training.json": 8 * MiB,
    "README.md": 8 * MiB,
    "metrics.json": 32 * MiB,
    calibration.FILE: 8 * MiB,
    "results.csv": 256 * MiB,
}

PLOT = re.compile(r"plots/[a-z0-9][a-z0-9_-]{0,63}\.(png|svg)")
PLOT_LIMIT, PLOTS_LIMIT = 16 * MiB, 64
LABELLED = ("classification", "multilabel")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file in a manifest; `size` is in bytes."""

    sha256: str
    size: int


Manifest = dict[str, FileEntry]  # path -> file


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint directory, except the weights.

    `raw_config` is the complete content of config.json, `parameters` is the number of weights, and `tokenizer` is true
    if there is a tokenizer.json. `calibration` is None if there is no calibration.json. `adapter` is None unless the
    weights are those of a base with an adapter.
    """

    config: ModelConfig
    raw_config: dict[str, Any]
    labels: list[str]
    training: dict[str, Any]
    parameters: int
    tokenizer: bool
    calibration: Calibration | None = None
    adapter: LowRankAdapter | None = None


def allowed(path: str) -> int | None:
    """Return the maximum size in bytes of the checkpoint file at this path, or None if the path is not allowed."""
    return PLOT_LIMIT if PLOT.fullmatch(path) else LIMITS.get(path)


def manifest(directory: Path) -> Manifest:
    """Return the hash and size of every file, ordered by path.

    Raises CheckpointInvalid if the directory contains anything other than the regular files of a checkpoint, or if a
    required file is missing.
    """
    files = {}
    for name, path in _walk(directory):
        limit = allowed(name)
        if limit is None:
            raise CheckpointInvalid(f"{name!r} does not belong in a checkpoint; {_expected()}")
        size = path.stat().st_size
        if size > limit:
            raise CheckpointInvalid(f"{name} has {size} bytes; the limit is {limit}")
        with path.open("rb") as file:
            files[name] = FileEntry(hashlib.file_digest(file, "sha256").hexdigest(), size)
    if sum(name.startswith("plots/") for name in files) > PLOTS_LIMIT:
        raise CheckpointInvalid(f"plots/ contains more than {PLOTS_LIMIT} files")
    if missing := [name for name in REQUIRED if name not in files]:
        raise CheckpointInvalid(f"{' and '.join(missing)} is missing; {_expected()}")
    return dict(sorted(files.items()))


def digest(files: Mapping[str, FileEntry]) -> str:
    """Return the identity of a checkpoint: the SHA-256 of its manifest as JSON with sorted keys and no spaces."""
    plain = {name: asdict(entry) for name, entry in files.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read(directory: Path) -> Checkpoint:
    """Read and check the content of a directory. Reads only the header of the weights.

    Raises CheckpointInvalid if a file is not valid. The message names the file and the problem.
    """
    raw = _load_object(directory / "config.json", required=True)
    config = parse_config(raw)
    tokenizer = (directory / "tokenizer.json").exists()
    if tokenizer != (config.input == "tokens"):
        raise CheckpointInvalid(
            f"a checkpoint must have a tokenizer.json if and only if its input is tokens; its input is {config.input}"
        )
    if tokenizer:
        definition = _load_object(directory / "tokenizer.json", required=True)
        patterns.check(definition)
        tokenizer_rules.check(definition)
    labels = _load_labels(directory / "labels.json", config)
    if raw.get("labels", labels) != labels:
        raise CheckpointInvalid("config.json: labels differ from labels.json")
    adapter = parse_adapter(raw.get("adapter"), config)
    parameters = check_weights(directory, WEIGHTS, config, adapter)
    training, fitted = _load_object(directory / "training.json"), _load_calibration(directory, config)
    return Checkpoint(config, raw, labels, training, parameters, tokenizer, fitted, adapter)


def load_weights(directory: Path, contents: Checkpoint, load: Callable[[Path], Any]) -> dict[str, Any]:
    """Return the tensors of a network, by name, with the adapter merged into its base if there is one.

    `contents` is the result of `read`. `load` reads a safetensors file into tensors of NumPy or torch.
    """
    if contents.adapter is None:
        return dict(load(directory / WEIGHTS))
    return load_merged(directory, WEIGHTS, contents.config, contents.adapter, load)


def validate(directory: Path) -> Checkpoint:
    """Check a whole directory: the names and sizes of its files with `manifest`, and their contents with `read`."""
    manifest(directory)
    return read(directory)


def write_json(path: Path, value: object) -> None:
    """Write JSON to a file atomically. Even after a power failure, the file has either its old or its new content.

    Equal values produce equal bytes. Raises ValueError for NaN and infinity.
    """
    write_bytes(path, encode(value))


def encode(value: object) -> bytes:
    """Return the bytes that `write_json` writes. Raises ValueError for NaN and infinity."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes to a file atomically, as `write_json` does."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Sync a directory, so that files created or renamed in it survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_json(path: Path) -> Any:
    """Parse a JSON file of a checkpoint with `strict_json.parse`.

    Raises CheckpointInvalid if the file is missing, too large or not valid.
    """
    limit = LIMITS[path.name]
    values = strict_json.VOCABULARY_VALUES if path.name == "tokenizer.json" else strict_json.VALUES
    try:
        if path.stat().st_size > limit:
            raise CheckpointInvalid(f"{path.name} exceeds its limit of {limit} bytes")
        return strict_json.parse(path.read_bytes(), values=values)
    except FileNotFoundError:
        raise CheckpointInvalid(f"{path.name} is missing") from None
    except strict_json.JsonInvalid as error:
        raise CheckpointInvalid(f"{path.name} is not valid JSON: {error}") from None


def _expected() -> str:
    return f"a checkpoint may contain {', '.join(LIMITS)} and plots/*.png or *.svg"


def _walk(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield each file's name, relative to the directory, and its path. Links are rejected, not followed."""
    for entry in sorted(os.scandir(directory), key=lambda e: e.name):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISREG(mode):
            yield entry.name, Path(entry.path)
        elif stat.S_ISDIR(mode) and entry.name == "plots":
            for inner in sorted(os.scandir(entry.path), key=lambda e: e.name):
                if not inner.is_file(follow_symlinks=False):
                    raise CheckpointInvalid(f"plots/{inner.name!r} is not a regular file")
                yield f"plots/{inner.name}", Path(inner.path)
        else:
            raise CheckpointInvalid(f"{entry.name!r} is not a regular file; {_expected()}")


def _load_object(path: Path, *, required: bool = False) -> dict[str, Any]:
    """Load the JSON object in a file. Returns an empty dict if the file does not exist and is not `required`."""
    if not required and not path.exists():
        return {}
    value = load_json(path)
    if not isinstance(value, dict):
        raise CheckpointInvalid(f"{path.name} must contain a JSON object")
    return value


def _load_calibration(directory: Path, config: ModelConfig) -> Calibration | None:
    path = directory / calibration.FILE
    return parse_calibration(_load_object(path), config) if path.exists() else None


def _load_labels(path: Path, config: ModelConfig) -> list[str]:
    if config.task not in LABELLED:
        if path.exists():
            raise CheckpointInvalid(f"labels.json does not belong in a checkpoint for {config.task}")
        return []
    labels = load_json(path)
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise CheckpointInvalid("labels.json must contain a JSON list of strings")
    if len(labels) != config.classes or len(set(labels)) != len(labels):
        raise CheckpointInvalid(
            f"labels.json must contain {config.classes} distinct labels, one per class; it contains {len(set(labels))}"
        )
    return labels
