"""Reads the checkpoint that a job fine-tunes or evaluates. The worker has copied it to the run directory.

Does not read the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from app.checkpoint import directory as checkpoint
from app.checkpoint.adapter import LowRankAdapter, load_merged
from app.checkpoint.calibration import Calibration
from app.errors import CheckpointInvalid
from app.tokenization.tokenizer import Tokenizer
from app.training.failures import TrainingFailure
from app.wire.trainer import TrainSpec
from models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class BaseCheckpoint:
    """A validated checkpoint directory, with the contents of its `config.json` and `labels.json`.

    `normalization` contains the mean and standard deviation of numeric inputs, and `target` the mean and standard
    deviation of the values to predict in regression. `calibration` and `adapter` are None if the checkpoint has none.
    `training` is the unchecked content of `training.json`; it is empty if the file is missing.
    """

    directory: Path
    config: ModelConfig
    labels: list[str]
    normalization: dict[str, Any] | None
    target: dict[str, float] | None
    calibration: Calibration | None = None
    training: dict[str, Any] = field(default_factory=dict)
    adapter: LowRankAdapter | None = None

    def tensors(self) -> dict[str, Any]:
        """Load the weights of the checkpoint, by name. An adapter is merged into them."""
        if self.adapter is None:
            return load_file(self.directory / checkpoint.WEIGHTS)
        return load_merged(self.directory, checkpoint.WEIGHTS, self.config, self.adapter, load_file)

    def tokenizer(self) -> Tokenizer:
        """Load the tokenizer of the checkpoint."""
        return Tokenizer.load(self.directory)


def find(run: Path, spec: TrainSpec) -> BaseCheckpoint | None:
    """Return the base checkpoint of a run, or None if the run trains a new network.

    Raises TrainingFailure if the checkpoint is invalid.
    """
    return None if spec.model != "base" else read(run / "base", "the version to fine-tune")


def read(directory: Path, name: str = "the version") -> BaseCheckpoint:
    """Read the checkpoint in a directory. `name` is the name of the checkpoint in error messages.

    Raises TrainingFailure if the checkpoint is invalid.
    """
    try:
        contents = checkpoint.validate(directory)
    except CheckpointInvalid as error:
        raise TrainingFailure("invalid_base_model", f"{name} cannot be read: {error.message}", "model") from None
    raw: dict[str, Any] = contents.raw_config
    scales = raw.get("normalization"), raw.get("target")
    return BaseCheckpoint(
        directory, contents.config, contents.labels, *scales, contents.calibration, contents.training, contents.adapter
    )
