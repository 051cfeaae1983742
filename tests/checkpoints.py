"""Creates small valid checkpoint directories, without torch."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from app.checkpoint.adapter import ADAPTER, PREFIX, LowRankAdapter
from app.checkpoint.directory import WEIGHTS, digest, manifest, read
from models.adapters import adapter_shapes
from models.config import ModelConfig
from models.constraints import ConfigError
from models.parameters import count, shapes

LARGEST = 2**22  # parameters of the largest network whose weights are written

if TYPE_CHECKING:  # so that a fake trainer, which uses this module, starts without loading SQLAlchemy
    from app.registry.records import Version
    from app.registry.service import Registry


def safetensors(tensors: dict[str, tuple[list[int], bytes]]) -> bytes:
    """The content of a safetensors file with these float32 tensors, each a pair (shape, bytes)."""
    header, data = {}, b""
    for name, (shape, raw) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def make_checkpoint(directory: Path, *, seed: int = 0, labels: tuple[str, ...] = ("no", "yes"), **changes: Any) -> Path:
    """Write the checkpoint of a classifier. `changes` are fields of config.json; None removes a field."""
    directory.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "format_version": 1,
        "architecture": "lstm",
        "task": "classification",
        "vocab_size": 16,
        "classes": len(labels),
        "layers": 1,
        "width": 8,
    }
    config |= changes
    config = {key: value for key, value in config.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(config))
    if config["task"] in ("classification", "multilabel"):
        (directory / "labels.json").write_text(json.dumps(list(labels)))
    if config.get("input", "tokens") == "tokens":
        (directory / "tokenizer.json").write_text('{"version": "1.0"}')
    write_weights(directory, struct.pack("<4f", seed, 1.0, 2.0, 3.0))
    (directory / "training.json").write_text(json.dumps({"seed": seed}))
    return directory


def write_weights(directory: Path, pattern: bytes) -> None:
    """Write the tensors that config.json requires, each filled with repetitions of the float32 numbers in `pattern`.

    For a configuration that is invalid or very large, a single tensor with an arbitrary name is written.
    """
    try:
        config = ModelConfig.from_dict(json.loads((directory / "config.json").read_bytes()))
    except ConfigError:
        config = None
    if config is None or count(config) > LARGEST:
        tensors = {"any": ([len(pattern) // 4], pattern)}
    else:
        tensors = {name: (list(shape), repeat(math.prod(shape), pattern)) for name, shape in shapes(config).items()}
    (directory / "model.safetensors").write_bytes(safetensors(tensors))


def repeat(numbers: int, pattern: bytes) -> bytes:
    """Return the bytes of this number of float32 numbers, filled with repetitions of `pattern`."""
    return (pattern * -(-4 * numbers // len(pattern)))[: 4 * numbers]


def make_adapter(base: Path, directory: Path, r: int = 2, seed: int = 0, replaced: Iterable[str] = ()) -> Path:
    """Write the checkpoint of an adapter with random matrices. `base` is the checkpoint of a Transformer.

    `replaced` are the names of tensors of the base that the adapter replaces.
    """
    shutil.copytree(base, directory)
    files, raw = manifest(base), json.loads((base / "config.json").read_text())
    adapter = LowRankAdapter(digest(files), files[WEIGHTS].sha256, r, 3.0, 0.0, ["qkv", "out", "up", "down"])
    (directory / "config.json").write_text(json.dumps(raw | {"adapter": asdict(adapter)}))
    random, config = Random(seed), ModelConfig.from_dict(raw)
    tensors = {}
    own = [(name, shapes(config)[name]) for name in replaced]
    for name, shape in (*adapter_shapes(config, adapter.target_modules, r), *own):
        numbers = [random.gauss(0.0, 0.3) for _ in range(math.prod(shape))]
        tensors[PREFIX + name] = (list(shape), struct.pack(f"<{len(numbers)}f", *numbers))
    (directory / ADAPTER).write_bytes(safetensors(tensors))
    return directory


def publish(registry: Registry, directory: Path, name: str = "mood", owner: str = "alice", **options: Any) -> Version:
    """Publish a directory as the next version of a model."""
    files = registry.upload_files(directory)
    options.setdefault("metrics", {})
    with registry.database.transaction() as session:
        return registry.publish(session, name=name, owner=owner, files=files, checkpoint=read(directory), **options)
