"""Writes an imported network as a checkpoint directory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from app.checkpoint.configuration import FORMAT_VERSION
from app.checkpoint.directory import Checkpoint, validate, write_bytes, write_json
from app.errors import InvalidRequest
from app.importing.pytorch.network import InferredNetwork
from app.importing.pytorch.tensors import Tensors
from app.tokenization.tokenizer import Tokenizer
from app.wording import quantity
from models.config import ModelConfig
from models.constraints import ConfigError
from models.parameters import shapes


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted checkpoint.

    `assumed` lists the assumptions that were made, each as `field=value: reason`. `computation` describes the network's
    computation in one line.
    """

    checkpoint: Checkpoint
    assumed: tuple[str, ...]
    computation: str


def write(
    source: Path,
    target: Path,
    network: InferredNetwork,
    labels: list[str] | None,
    tokenizer: Tokenizer | None,
    assumed: list[str],
    extra: Mapping[str, Any] | None = None,
) -> Converted:
    """Write a converted network to the new checkpoint directory `target`.

    `labels` and `tokenizer` are None if the network has none. `extra` contains the entries of config.json that do not
    describe the network. Raises InvalidRequest if the tensors do not match the network.
    """
    config = _config(network)
    if tokenizer is not None:
        config = replace(config, pad_id=tokenizer.pad_id)
    _check_shapes(network.tensors, config)
    target.mkdir(parents=True)
    save_file(network.tensors, target / "model.safetensors")
    write_json(target / "config.json", {"format_version": FORMAT_VERSION, **config.to_dict(), **(extra or {})})
    if labels is not None:
        write_json(target / "labels.json", labels)
    if tokenizer is not None:
        tokenizer.save(target)
    origin = {"file": source.name, **({"sha256": _sha256(source)} if source.is_file() else {})}
    facts = {**origin, "assumed": assumed, "computation": network.computation}
    write_json(target / "training.json", {"imported": facts})
    write_bytes(target / "README.md", _card(source, config, network.computation, assumed).encode())
    return Converted(validate(target), tuple(assumed), network.computation)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _config(network: InferredNetwork) -> ModelConfig:
    try:
        return ModelConfig(**network.fields)
    except ConfigError as error:
        raise InvalidRequest(f"this network is not supported: {error}", param=error.field) from None


def _check_shapes(tensors: Tensors, config: ModelConfig) -> None:
    """Raise InvalidRequest if tensors are missing, have the wrong shape, or are not part of the network."""
    expected: dict[str, Any] = shapes(config)
    wrong = [
        f"  {name}: {tuple(tensors[name].shape) if name in tensors else 'missing'}, expected {expected.get(name)}"
        for name in sorted({*tensors, *expected})
        if name not in tensors or tuple(tensors[name].shape) != expected.get(name)
    ]
    if wrong:
        raise InvalidRequest(
            "the tensors do not match the network's configuration:\n" + "\n".join(wrong[:30]), code="unknown_network"
        )


def _card(source: Path, config: ModelConfig, computation: str, assumed: list[str]) -> str:
    """Return the text of the checkpoint's README.md."""
    kind = f"{'bidirectional ' if config.bidirectional else ''}{config.architecture}"
    return (
        f"# Imported from {source.name}\n\n"
        f"- task: {config.task}\n- network: {kind}, {quantity(config.layers, 'layer')} of {config.width}\n"
        f"- input: {config.input}\n- computation: {computation}\n"
        "\nThis network was trained elsewhere; its training data and its quality are unknown.\n"
        + (
            "\n## Assumptions\n\nThe file does not determine these settings, so they were assumed:\n\n"
            if assumed
            else ""
        )
        + "".join(f"- {line}\n" for line in assumed)
    )
