"""The checkpoint to fine-tune, as found in the run directory. Knows the directory format; loads no weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.checkpoint import directory as checkpoint
from app.errors import CheckpointInvalid
from app.tokenization.tokenizer import Tokenizer
from app.training.failures import TrainingFailure
from app.wire.trainer import TrainSpec
from models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class BaseCheckpoint:
    directory: Path
    config: ModelConfig
    labels: list[str]
    normalization: dict[str, list[float]] | None
    target: dict[str, float] | None

    @property
    def weights(self) -> Path:
        return self.directory / "model.safetensors"

    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.directory)


def find(run: Path, spec: TrainSpec) -> BaseCheckpoint | None:
    if spec.model != "base":
        return None
    directory = run / "base"
    try:
        found = checkpoint.validate(directory)
    except CheckpointInvalid as error:
        raise TrainingFailure(
            "invalid_base_model", f"the version to fine-tune cannot be read: {error.message}", "model"
        ) from None
    raw: dict[str, Any] = found.raw_config
    return BaseCheckpoint(directory, found.config, found.labels, raw.get("normalization"), raw.get("target"))
