"""Reads the checkpoint directory of a version that is to be exported to the format of another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from app.checkpoint import directory as checkpoint
from app.checkpoint.adapter import LowRankAdapter, read_adapter
from app.checkpoint.directory import Checkpoint
from app.errors import InvalidRequest
from app.importing.pytorch.tensors import Array, Tensors
from app.tokenization.tokenizer import Tokenizer
from models.config import ModelConfig


class ExportRefused(InvalidRequest):
    """The target format cannot represent the version's computation."""

    code = "not_exportable"


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """A version to export.

    `raw` is its config.json, and `card` is its README.md. `tokenizer` is None if the version reads numbers.
    `calibration` is the scale and the bias, each of shape (C), that the service applies to the network's outputs, or
    None. For regression, they are the standard deviation and the mean of the values that the network predicts. For an
    adapter, `tensors` contains the weights of its base, merged with the adapter, and `own_tensors` contains the tensors
    of the adapter itself.
    """

    config: ModelConfig
    raw: dict[str, Any]
    labels: list[str]
    tensors: Tensors
    tokenizer: Tokenizer | None
    card: str
    calibration: tuple[Array, Array] | None
    adapter: LowRankAdapter | None = None
    own_tensors: Tensors = field(default_factory=dict)

    @property
    def number_type(self) -> str:
        """The data type in which the service standardises numbers. Other programs must use the same type.

        In float32, large numbers such as times would be rounded before their mean is subtracted.
        """
        scales: dict[str, Any] = self.raw.get("normalization") or {}
        return str(scales.get("dtype", "float32"))


def read_version(directory: Path) -> SourceVersion:
    """Read a checkpoint directory. Raises CheckpointInvalid if it is not valid."""
    contents = checkpoint.validate(directory)
    card = directory / "README.md"
    return SourceVersion(
        contents.config,
        contents.raw_config,
        contents.labels,
        checkpoint.load_weights(directory, contents, load_file),
        Tokenizer.load(directory) if contents.tokenizer else None,
        card.read_text(encoding="utf-8") if card.is_file() else "",
        _calibration(contents),
        contents.adapter,
        {} if contents.adapter is None else read_adapter(directory, load_file),
    )


def _calibration(contents: Checkpoint) -> tuple[Array, Array] | None:
    scale, bias = (contents.calibration.scale, contents.calibration.bias) if contents.calibration else ([], [])
    if target := contents.raw_config.get("target"):
        return np.array([target["std"]], np.float64), np.array([target["mean"]], np.float64)
    if not scale:
        return None
    count = contents.config.classes
    scales = np.array(scale * count if len(scale) == 1 else scale, np.float32)
    return scales, np.array(bias or [0.0] * count, np.float32)


def differences(config: ModelConfig, needed: Mapping[str, Any]) -> list[str]:
    """Return the fields of a configuration that do not have the required value, each as `field is value`."""
    values = {name: getattr(config, name) for name in needed}
    return [f"{name} is {_shown(value)}" for name, value in values.items() if value != needed[name]]


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
