"""The checkpoint directory: what may lie in it, what each file must say, what identifies it.

Knows JSON and bytes; knows no torch, reads no weight, runs nothing. Everything in a directory is taken for hostile.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from app.checkpoint import patterns
from app.checkpoint.weights import check_tensors, read_header
from app.errors import CheckpointInvalid
from models.config import ConfigError, ModelConfig

FORMAT_VERSION = 1
MiB = 2**20
REQUIRED = ("config.json", "model.safetensors")
LIMITS = {  # the largest size of each file; the weights are bounded by their header
    "config.json": 8 * MiB,
    "model.safetensors": 2**40,
    "tokenizer.json": 64 * MiB,
    "labels.json": 8 * MiB,
    "training.json": 8 * MiB,
    "README.md": 8 * MiB,
    "metrics.json": 32 * MiB,
    "results.csv": 256 * MiB,
}
PLOT = re.compile(r"plots/[a-z0-9][a-z0-9_-]{0,63}\.(png|svg)")
PLOT_LIMIT, PLOTS_LIMIT = 16 * MiB, 64
OWN_KEYS = {f.name for f in fields(ModelConfig)}
EXTRA_KEYS = {"format_version", "labels", "normalization", "threshold", "target", "chat_template"}
CHAT_TEMPLATE_LIMIT = 2**16  # characters
CEILINGS = {  # no network of ours is larger: a small file must not make a loader ask for terabytes
    "vocab_size": 2**24,
    "features": 2**20,
    "classes": 2**20,
    "layers": 1024,
    "width": 2**16,
    "input_width": 2**16,
    "inner": 2**20,
    "context_length": 2**20,
}
LABELLED = ("classification", "multilabel")


@dataclass(frozen=True, slots=True)
class FileEntry:
    sha256: str
    size: int


Manifest = dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a directory says of itself. `raw_config` is config.json whole; `parameters` counts numbers."""

    config: ModelConfig
    raw_config: dict[str, Any]
    labels: list[str]
    training: dict[str, Any]
    parameters: int
    tokenizer: bool


def allowed(path: str) -> int | None:
    """The largest size of a file of this name in a checkpoint; None where no such file may be."""
    return PLOT_LIMIT if PLOT.fullmatch(path) else LIMITS.get(path)


def manifest(directory: Path) -> Manifest:
    """Path -> hash and size of every file, in the order of the names. Raises CheckpointInvalid for any other thing."""
    found = {}
    for name, path in _walk(directory):
        limit = allowed(name)
        if limit is None:
            raise CheckpointInvalid(f"{name!r} has no place in a checkpoint; {_expected()}")
        size = path.stat().st_size
        if size > limit:
            raise CheckpointInvalid(f"{name} has {size} bytes; {limit} is the most")
        with path.open("rb") as file:
            found[name] = FileEntry(hashlib.file_digest(file, "sha256").hexdigest(), size)
    if sum(name.startswith("plots/") for name in found) > PLOTS_LIMIT:
        raise CheckpointInvalid(f"plots/ holds more than {PLOTS_LIMIT} files")
    if missing := [name for name in REQUIRED if name not in found]:
        raise CheckpointInvalid(f"{' and '.join(missing)} is missing; {_expected()}")
    return dict(sorted(found.items()))


def digest(files: Mapping[str, FileEntry]) -> str:
    """The identity of a checkpoint: SHA-256 of its manifest as canonical JSON."""
    plain = {name: asdict(entry) for name, entry in files.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read(directory: Path) -> Checkpoint:
    """Everything but the weights, checked. Raises CheckpointInvalid, which says what and where."""
    raw = _object(directory / "config.json", required=True)
    config = _config(raw)
    tokenizer = (directory / "tokenizer.json").exists()
    if tokenizer != (config.input == "tokens"):
        raise CheckpointInvalid(
            f"tokenizer.json must be there where input is tokens, and only there: {config.input=!s}"
        )
    if tokenizer:
        patterns.check(_object(directory / "tokenizer.json", required=True))
    labels = _labels(directory / "labels.json", config)
    if raw.get("labels", labels) != labels:
        raise CheckpointInvalid("config.json: labels differ from labels.json")
    header = read_header(directory / "model.safetensors")
    check_tensors(header, config)
    parameters = sum(entry.elements for entry in header.values())
    return Checkpoint(config, raw, labels, _object(directory / "training.json"), parameters, tokenizer)


def validate(directory: Path) -> Checkpoint:
    """Names, sizes, configuration, labels, tokenizer and the header of the weights."""
    manifest(directory)
    return read(directory)


def write_json(path: Path, value: object) -> None:
    """The whole file or the one before, also after a power cut. Equal values give equal bytes."""
    write_bytes(path, encode(value))


def encode(value: object) -> bytes:
    """JSON as `write_json` writes it."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_json`, for bytes."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames within a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_json(path: Path) -> Any:
    """Strict JSON: UTF-8, no repeated names, no NaN, bounded depth. Raises CheckpointInvalid."""
    try:
        return json.loads(path.read_bytes().decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except FileNotFoundError:
        raise CheckpointInvalid(f"{path.name} is missing") from None
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)[:200]
        raise CheckpointInvalid(f"{path.name} is not valid JSON: {reason}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not allowed")


def _expected() -> str:
    return f"a checkpoint holds {', '.join(LIMITS)} and plots/*.png or .svg"


def _walk(directory: Path) -> Iterator[tuple[str, Path]]:
    for entry in sorted(os.scandir(directory), key=lambda e: e.name):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISREG(mode):
            yield entry.name, Path(entry.path)
        elif stat.S_ISDIR(mode) and entry.name == "plots":
            for inner in sorted(os.scandir(entry.path), key=lambda e: e.name):
                if not inner.is_file(follow_symlinks=False):
                    raise CheckpointInvalid(f"plots/{inner.name!r} is not a plain file")
                yield f"plots/{inner.name}", Path(inner.path)
        else:
            raise CheckpointInvalid(f"{entry.name!r} is not a plain file; {_expected()}")


def _object(path: Path, *, required: bool = False) -> dict[str, Any]:
    if not required and not path.exists():
        return {}
    if path.exists() and path.stat().st_size > LIMITS[path.name]:
        raise CheckpointInvalid(f"{path.name} is larger than {LIMITS[path.name]} bytes")
    value = load_json(path)
    if not isinstance(value, dict):
        raise CheckpointInvalid(f"{path.name} must hold a JSON object")
    return value


def _config(raw: dict[str, Any]) -> ModelConfig:
    if unknown := sorted(set(raw) - OWN_KEYS - EXTRA_KEYS):
        shown = ", ".join(repr(key[:60]) for key in unknown[:20])
        raise CheckpointInvalid(f"config.json has fields that mean nothing here: {shown}; remove them")
    if raw.get("format_version") != FORMAT_VERSION:
        raise CheckpointInvalid(f"config.json: format_version must be {FORMAT_VERSION}")
    try:
        config = ModelConfig.from_dict(raw)
    except ConfigError as error:
        raise CheckpointInvalid(f"config.json: {error}") from None
    for name, ceiling in CEILINGS.items():
        if not 0 <= getattr(config, name) <= ceiling:
            raise CheckpointInvalid(f"config.json: {name} must be from 0 to {ceiling}")
    _check_normalization(raw.get("normalization"), config)
    _check_target(raw.get("target"), config)
    threshold = raw.get("threshold")
    if threshold is not None and not (_number(threshold) and 0 <= threshold <= 1):
        raise CheckpointInvalid("config.json: threshold must be a number from 0 to 1")
    _check_chat_template(raw.get("chat_template"), config)
    return config


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_normalization(value: object, config: ModelConfig) -> None:
    if value is None:
        return
    if config.input != "features":
        raise CheckpointInvalid("config.json: normalization is for input features only")
    if not isinstance(value, dict) or set(value) != {"mean", "std"}:
        raise CheckpointInvalid("config.json: normalization needs exactly mean and std")
    for name, column in value.items():
        if not isinstance(column, list) or len(column) != config.features or not all(map(_number, column)):
            raise CheckpointInvalid(f"config.json: normalization.{name} needs {config.features} numbers")
    if not all(v > 0 for v in value["std"]):
        raise CheckpointInvalid("config.json: normalization.std must be above 0")


def _check_target(value: object, config: ModelConfig) -> None:
    if value is None:
        return
    if config.task != "regression":
        raise CheckpointInvalid("config.json: target is for regression only")
    if not isinstance(value, dict) or set(value) != {"mean", "std"} or not all(map(_number, value.values())):
        raise CheckpointInvalid("config.json: target needs exactly the numbers mean and std")
    if value["std"] <= 0:
        raise CheckpointInvalid("config.json: target.std must be above 0")


def _check_chat_template(value: object, config: ModelConfig) -> None:
    if value is None:
        return
    if config.task != "generation":
        raise CheckpointInvalid("config.json: chat_template is for generation only")
    if not isinstance(value, str) or len(value) > CHAT_TEMPLATE_LIMIT:
        raise CheckpointInvalid(
            f"config.json: chat_template must be a text of at most {CHAT_TEMPLATE_LIMIT} characters"
        )


def _labels(path: Path, config: ModelConfig) -> list[str]:
    if config.task not in LABELLED:
        if path.exists():
            raise CheckpointInvalid(f"labels.json has no place in a checkpoint for {config.task}")
        return []
    labels = load_json(path)
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise CheckpointInvalid("labels.json must hold a JSON list of names")
    if len(labels) != config.classes or len(set(labels)) != len(labels):
        raise CheckpointInvalid(
            f"labels.json must name each of the {config.classes} classes once; it has {len(labels)}"
        )
    return labels
